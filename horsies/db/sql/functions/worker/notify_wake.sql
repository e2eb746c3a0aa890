-- Purpose: Tell workers that there may be tasks to claim. The notification is a hint: workers also poll, slowly.
-- Locks: none.
-- Called by: announce, notify_cancel, notify_room; queries/worker.py.
-- Granted to: producer, worker, viewer, operator.
create function horsies.notify_wake() returns void
security definer set search_path = pg_catalog, pg_temp
language sql as $function$
    select pg_notify('{horsies}.wake', '')
$function$;
