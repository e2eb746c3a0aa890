-- Spares the calling transaction the wait for the disk: for what may be lost in a crash of the server. A transaction
-- that only notifies needs it not: it writes nothing that would be waited for.
-- Called by: progress.
create function horsies.relaxed() returns void
language sql as $function$
    select set_config('synchronous_commit', 'off', true)
$function$;
