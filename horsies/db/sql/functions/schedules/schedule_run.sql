-- Purpose: Send the task of a schedule now, even if it is not due. Returns false if there is no such schedule. A call
-- may be replayed with the same `new_id`.
-- Locks: the schedule's row, then the task's row.
-- Called by: queries/schedules.py.
-- Granted to: operator.
create function horsies.schedule_run(schedule_name text, new_id uuid) returns boolean
security definer set search_path = pg_catalog, pg_temp
language plpgsql as $function$
declare
    schedule horsies.schedules;
begin
    perform horsies.durable();
    select s.* into schedule from horsies.schedules s where s.name = schedule_name for update;
    if not found then
        return false;
    end if;
    if horsies.enqueue(new_id, schedule.task_name, schedule.queue, schedule.priority, schedule.args,
                       schedule.fingerprint, 0, null, schedule.retry_policy, schedule.timeout_ms, true) = 'sent' then
        update horsies.schedules s
        set last_run_at = horsies.now(), last_task_id = new_id, run_count = s.run_count + 1
        where s.name = schedule_name;
    end if;
    return true;
end
$function$;
