-- Purpose: Return how many tokens a bucket holds at a time. `full_at` is when it will be full again (null: it is
-- full), `token_us` the microseconds per token, and `burst` the tokens of a full bucket. The result is null without a
-- rate.
-- Locks: none. The caller holds the lock of the queue.
-- Called by: blocked_keys, claim_from_queue, claim_in_turns, keep_tokens, keys_with_room, waiting_reasons,
-- why_regulated.
-- Granted to: nobody.
create function horsies.tokens_left(full_at timestamptz, clock timestamptz, token_us bigint, burst int) returns int
language sql stable as $function$
    select case when token_us is null then null
                when full_at is null or full_at <= clock then burst
                else greatest(0, (burst * token_us - round(extract(epoch from full_at - clock) * 1000000)::bigint)
                                 / token_us)::int end
$function$;
