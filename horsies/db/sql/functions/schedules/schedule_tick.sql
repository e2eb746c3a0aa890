-- Purpose: Send the task of a schedule once for each of its due times and set the next due time, in one transaction.
-- Returns how many tasks were sent; null if the schedule is not, or no longer, in the state that the scheduler
-- expects, because another scheduler was faster. If a due time was handled before (the clock was set back, for
-- example by a failover), its task has the same id and is not sent again; see `due_id`. A unique task that a live one
-- keeps from being sent is not sent later either: the state keeps the last run that took place.
-- Locks: the schedule's row, then those of `schedule_send`.
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
    answer record;
    sent int := 0;
    last_time timestamptz;
    last_task uuid;
begin
    perform horsies.durable();
    select s.* into schedule from horsies.schedules s where s.name = schedule_name for update;
    if schedule.config_hash is distinct from hash or schedule.next_run_at is distinct from due or schedule.paused then
        return null;
    end if;
    foreach due_time in array due_times loop
        select * into answer from horsies.schedule_send(schedule_name, horsies.due_id(schedule_name, due_time));
        sent := sent + (answer.verdict = 'sent')::int;
        if answer.verdict not in ('existing', 'duplicate') then
            last_time := due_time;
            last_task := answer.task_id;
        end if;
    end loop;
    update horsies.schedules s
    set next_run_at = following,
        last_run_at = coalesce(last_time, s.last_run_at),
        last_task_id = coalesce(last_task, s.last_task_id),
        run_count = s.run_count + sent
    where s.name = schedule_name;
    return sent;
end
$function$;
