-- Purpose: Tell workers that a task was cancelled, by its id in 32 hex digits, so that the worker that runs it looks
-- at the row and stops it. Also tell waiters that it ended, and workers that its place is free. The notification is a
-- hint: workers also compare their tasks with the database at every heartbeat. Nothing is sent about a live task,
-- because this is also called after a `cancel` that failed, which must not kill anything.
-- Planner settings: see docs/architecture.md.
-- Locks: none.
-- Called by: notify_cancel_many; queries/tasks.py.
-- Granted to: producer, worker, operator.
create function horsies.notify_cancel(unwanted uuid) returns void
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set enable_seqscan = off
as $function$
begin
    if not exists (select from horsies.tasks t where t.id = unwanted) then
        perform pg_notify('{horsies}.cancel', replace(unwanted::text, '-', ''));
        perform horsies.notify_done(array[unwanted], false);
        perform horsies.notify_wake();
    end if;
end
$function$;
