-- Purpose: Return when a bucket that is empty will hold tokens for at least 20 ms, so that a worker that waits for
-- them does not wake up for each one. A bucket of fewer tokens is waited for until it is full.
-- Locks: none.
-- Called by: claim_from_queue, claim_in_turns, keys_with_room, why_regulated.
-- Granted to: nobody.
create function horsies.tokens_due(full_at timestamptz, token_us bigint, burst int) returns timestamptz
language sql stable as $function$
    select full_at - make_interval(
        secs => (burst - least(burst, greatest(1, ceil(20000.0 / token_us))))::double precision * token_us / 1000000)
$function$;
