-- Purpose: tell workers that there may be work. A hint: they also poll, slowly. Called by: producers and workers in a
-- transaction of their own; start, renew, expire, reap, reconcile, return_stale_to_queue, queue_control, notify_cancel,
-- notify_room, workflow_advance, workflow_attach, workflow_cancel, workflow_resume and workflow_send_items inside
-- theirs.
create function horsies.notify_wake() returns void
language sql as $function$
    select pg_notify('{horsies}.wake', '')
$function$;
