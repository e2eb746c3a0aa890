-- Purpose: Take tokens out of buckets: for each key, one token per start. The keys are sorted. `scope` is 'queue',
-- with one empty key, or 'key'.
-- Locks: the rows of the buckets. The caller holds the lock of the queue.
-- Called by: claim_from_queue, claim_in_turns.
-- Granted to: nobody.
create function horsies.use_tokens(
    queue_name text, bucket_scope text, keys text[], counts int[], token_us bigint, clock timestamptz
) returns void
language sql volatile as $function$
    insert into horsies.buckets as b (queue, scope, key, full_at)
    select queue_name, bucket_scope, used.key, clock + make_interval(secs => used.number * token_us / 1000000.0)
    from unnest(keys, counts) as used (key, number)
    order by used.key
    on conflict (queue, scope, key) do update
    set full_at = greatest(b.full_at, clock) + (excluded.full_at - clock)
$function$;
