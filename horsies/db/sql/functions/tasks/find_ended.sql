-- Purpose: Find the history row of a task. The search begins with the days from one day before the time inside the
-- id (the sender's clock is only a hint), and continues in all older days.
-- Planner settings: see docs/architecture.md.
-- Locks: none.
-- Called by: cancel, enqueue, finish, notify_done, rerun, rerun_many, task_attempts, task_info, task_result, why.
-- Granted to: nobody.
create function horsies.find_ended(wanted uuid) returns setof horsies.history
language plpgsql
set enable_seqscan = off
as $function$
declare
    since constant timestamptz := horsies.uuid_time(wanted) - interval '1 day';
begin
    return query select * from horsies.history h where h.id = wanted and h.finished_at >= since;
    if not found then
        return query select * from horsies.history h where h.id = wanted and h.finished_at < since;
    end if;
end
$function$;
