-- Purpose: Tell workers that there may be tasks to claim. The notification is a hint: workers also poll, slowly.
-- Locks: none.
-- Called by: expire, notify_cancel, notify_room, queue_control, reap, reconcile, renew, return_stale_to_queue,
-- start, workflow_advance, workflow_attach, workflow_cancel, workflow_resume, workflow_send_items;
-- queries/worker.py.
-- Granted to: producer, worker, viewer, operator.
create function horsies.notify_wake() returns void
security definer set search_path = pg_catalog, pg_temp
language sql as $function$
    select pg_notify('{horsies}.wake', '')
$function$;
