-- Purpose: Return when a bucket that is empty at `clock` will hold tokens for at least 20 ms, so that a worker that
-- waits for them does not wake up for each one. A bucket of fewer tokens is waited for until it is full. The other
-- arguments are those of its rate, as `rate_at` returns them.
-- Locks: none.
-- Called by: claim_from_queue, claim_in_turns, keys_with_room, why_regulated.
-- Granted to: nobody.
create function horsies.tokens_due(
    used_to numeric, produced numeric, full_from numeric, token_us bigint, burst int, clock timestamptz
) returns timestamptz
language sql stable as $function$
    select clock + interval '1 us' * ceil(
        (greatest(used_to, full_from) - produced
         + 1000000000 * least(burst, greatest(1, ceil(20000.0 / token_us)))) * token_us / 1000000000)::double precision
$function$;
