-- Purpose: Record that workers are to be told that there may be tasks to claim. `announce` tells them in a later
-- transaction of this session. If this transaction is rolled back, so is the record.
-- Locks: none.
-- Called by: declare_queues, expire, key_control, limit_queue, queue_control, reap, reconcile, renew,
-- return_stale_to_queue, start, workflow_advance, workflow_attach, workflow_cancel, workflow_resume,
-- workflow_send_items.
-- Granted to: nobody.
create function horsies.announce_wake() returns void
language sql as $function$
    select set_config('horsies_notices.wake', '1', false)
$function$;
