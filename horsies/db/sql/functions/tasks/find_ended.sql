-- The history row of a task. First in the days from one before the time inside the id (the sender's clock is a
-- hint), then once in all of history.
-- Called by: enqueue (replays), rerun, rerun_many, cancel, finish, notify_done, task_result, task_info, task_attempts, why.
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
