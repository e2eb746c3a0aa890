-- Purpose: Tell workers that there may be tasks to claim, in the transaction of a caller, who ends it. A full
-- notification queue would fail that transaction at its commit. So nothing is sent while the queue is nearly full;
-- workers also poll.
-- Locks: none.
-- Called by: send; queries/worker.py.
-- Granted to: producer, worker.
create function horsies.notify_wake_within() returns void
security definer set search_path = pg_catalog, pg_temp
language sql as $function$
    select pg_notify('{horsies}.wake', '') where pg_notification_queue_usage() <= 0.9
$function$;
