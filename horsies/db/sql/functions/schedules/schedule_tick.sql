-- Purpose: Send the task of a schedule once for each of its due times and set the next due time, in one transaction.
-- Returns how many tasks were sent; null if the schedule is not, or no longer, in the state that the scheduler
-- expects, because another scheduler was faster. If a due time was handled before (the clock was set back, for
-- example by a failover), its task has the same id and is not sent again; see `due_id`.
-- Locks: the schedule's row, then the tasks' rows.
-- Called by: queries/schedules.py.
-- Granted to: worker.
create function horsies.schedule_tick(
    schedule_name text, hash text, due timestamptz, due_times timestamptz[], following timestamptz
) returns int
security definer set search_path = pg_catalog, pg_temp
language plpgsql as $function$
declare
    schedule horsies.schedules;
    due_time timestamptz;
    sent int := 0;
begin
    perform horsies.durable();
    select s.* into schedule from horsies.schedules s where s.name = schedule_name for update;
    if schedule.config_hash is distinct from hash or schedule.next_run_at is distinct from due or schedule.paused then
        return null;
    end if;
    foreach due_time in array due_times loop
        if horsies.enqueue(horsies.due_id(schedule_name, due_time), schedule.task_name, schedule.queue,
                           schedule.priority, schedule.args, schedule.fingerprint, 0, null, schedule.retry_policy,
                           schedule.timeout_ms, true) = 'sent' then
            sent := sent + 1;
        end if;
    end loop;
    update horsies.schedules s
    set next_run_at = following,
        last_run_at = coalesce(due_time, s.last_run_at),
        last_task_id = coalesce(horsies.due_id(schedule_name, due_time), s.last_task_id),
        run_count = s.run_count + sent
    where s.name = schedule_name;
    return sent;
end
$function$;
