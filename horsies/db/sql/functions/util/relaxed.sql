-- Purpose: Do not let the calling transaction wait for the disk. For data that may be lost in a crash of the server.
-- A transaction that only notifies does not need this, because it writes nothing that is waited for.
-- Locks: none.
-- Called by: progress, schedule_lead.
-- Granted to: nobody.
create function horsies.relaxed() returns void
language sql as $function$
    select set_config('synchronous_commit', 'off', true)
$function$;
