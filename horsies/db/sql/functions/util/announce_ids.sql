-- Purpose: Record that these tasks or runs are to be named in notifications of a kind, 'done' or 'cancel'. `announce`
-- sends the notifications in a later transaction of this session. If this transaction is rolled back, so is the
-- record. Only the latest ids are kept, in case nobody calls `announce`: notifications are hints.
-- Locks: none.
-- Called by: expire, reap, workflow_cancel, workflow_pause, workflow_settle.
-- Granted to: nobody.
create function horsies.announce_ids(kind text, ids uuid[]) returns void
language sql as $function$
    select set_config('horsies_notices.' || kind, right(
        coalesce(current_setting('horsies_notices.' || kind, true), '') || coalesce(
            (select string_agg(' ' || replace(given.id::text, '-', ''), '') from unnest(ids) as given (id)), ''),
        33 * 20000), false)
$function$;
