-- Spares the calling transaction the wait for the disk: for one that only notifies, and so has nothing to lose. A
-- notice goes out at commit, and without this the commit would be flushed first.
-- Called by: producers and workers, beside notifications in a transaction of their own.
create function horsies.relaxed() returns void
language sql as $function$
    select set_config('synchronous_commit', 'off', true)
$function$;
