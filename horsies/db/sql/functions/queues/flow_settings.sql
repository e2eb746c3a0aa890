-- Purpose: Return the settings of those of these queues that are *regulated*: their keys take turns, or they have a
-- rate or holds. A value that was set at run time takes precedence over the declared one. `token_us` is the number of
-- microseconds per token of a rate, rounded up so that no rounding exceeds the rate; it is null without a rate.
-- A limit that an operator has lifted is null.
-- Settings per key are null while the keys of the queue do not take turns.
-- Locks: none.
-- Called by: backfill_turns, blocked_keys, claim, claim_from_queue, claim_regulated, start, update_rates,
-- waiting_reasons, why_regulated.
-- Granted to: nobody.
create function horsies.flow_settings(names text[])
returns table (
    name text, paused boolean, turns text, per_key int, token_us bigint, burst int, key_token_us bigint, key_burst int,
    has_holds boolean
)
language sql stable as $function$
    select q.name, q.paused, q.turns, limits.per_key,
           ceil(1000000 * (limits.rate ->> 'per_seconds')::numeric / (limits.rate ->> 'limit')::numeric)::bigint,
           (limits.rate ->> 'burst')::int,
           ceil(1000000 * (limits.key_rate ->> 'per_seconds')::numeric
                / (limits.key_rate ->> 'limit')::numeric)::bigint,
           (limits.key_rate ->> 'burst')::int, q.has_holds
    from horsies.queues q
    cross join lateral (
        select case when 'rate' <> all (q.lifted_limits) then coalesce(q.rate_limit, q.declared_rate) end as rate,
               case when q.turns = 'on' and 'per_key' <> all (q.lifted_limits)
                    then coalesce(q.max_concurrency_per_key, q.declared_per_key) end as per_key,
               case when q.turns = 'on' and 'rate_per_key' <> all (q.lifted_limits)
                    then coalesce(q.rate_limit_per_key, q.declared_rate_per_key) end as key_rate
    ) as limits
    where q.name = any (names) and (q.turns <> 'off' or q.has_holds or limits.rate is not null)
$function$;
