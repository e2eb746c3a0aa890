-- Purpose: Return the rate of a queue (`rate_scope` 'queue') or of each of its keys ('key') at a time: `produced`, the
-- length of the stream of tokens (see the table `rates`), and `full_from`, where the tokens of a full bucket begin. No
-- row: no such rate is in effect.
-- Locks: none. The caller holds the lock of the queue, unless it only shows the rate.
-- Called by: blocked_keys, claim_from_queue, claim_in_turns, list_keys, prune_flow, update_rates, waiting_reasons,
-- why_regulated.
-- Granted to: nobody.
create function horsies.rate_at(queue_name text, rate_scope text, clock timestamptz)
returns table (token_us bigint, burst int, produced numeric, full_from numeric)
language sql stable as $function$
    select r.token_us, r.burst, stream.produced, greatest(r.lost_to, stream.produced - r.burst * 1000000000::numeric)
    from horsies.rates r
    cross join lateral (
        select r.produced + div(greatest(0, round(extract(epoch from clock - r.changed_at) * 1000000)::bigint)
                                * 1000000000::numeric, r.token_us) as produced
    ) as stream
    where r.queue = queue_name and r.scope = rate_scope and r.token_us is not null
$function$;
