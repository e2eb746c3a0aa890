-- Purpose: Take tokens out of buckets: for each key, one token per start. The keys are sorted. `scope` is 'queue',
-- with one empty key, or 'key'. The tokens of a full bucket begin at `full_from`.
-- Locks: the rows of the buckets. The caller holds the lock of the queue.
-- Called by: claim_from_queue, claim_in_turns.
-- Granted to: nobody.
create function horsies.use_tokens(
    queue_name text, bucket_scope text, keys text[], counts int[], full_from numeric
) returns void
language sql volatile as $function$
    insert into horsies.buckets as b (queue, scope, key, used_to)
    select queue_name, bucket_scope, used.key, full_from + used.number * 1000000000::numeric
    from unnest(keys, counts) as used (key, number)
    order by used.key
    on conflict (queue, scope, key) do update
    set used_to = greatest(b.used_to, full_from) + (excluded.used_to - full_from)
$function$;
