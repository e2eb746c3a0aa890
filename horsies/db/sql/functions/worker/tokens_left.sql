-- Purpose: Return how many tokens a bucket holds: those of the stream that are `produced` and that it has not used. It
-- has used those up to `used_to` (null: it is full); a full one holds those from `full_from` on. The result is null
-- without a rate.
-- Locks: none. The caller holds the lock of the queue, unless it only shows the tokens.
-- Called by: blocked_keys, claim_from_queue, claim_in_turns, keys_with_room, list_keys, waiting_reasons,
-- why_regulated.
-- Granted to: nobody.
create function horsies.tokens_left(used_to numeric, produced numeric, full_from numeric) returns int
language sql stable as $function$
    select case when produced is not null
                then greatest(0, div(produced - greatest(used_to, full_from), 1000000000))::int end
$function$;
