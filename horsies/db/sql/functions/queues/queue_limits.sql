-- Purpose: Return the limits of a queue that are in effect (null: none), and for each whether it was set or lifted at
-- run time; also whether the queue is keyed, and who has changed a limit at run time, and when. No row: nothing is
-- declared and nothing was set.
-- Locks: none.
-- Called by: queries/limits.py.
-- Granted to: viewer, operator.
create function horsies.queue_limits(queue_name text) returns table (
    is_keyed boolean, per_key int, per_key_is_set boolean, rate json, rate_is_set boolean, rate_per_key json,
    rate_per_key_is_set boolean, set_by text, set_at timestamptz
)
security definer set search_path = pg_catalog, pg_temp
language sql stable as $function$
    select q.turns = 'on',
           case when not lifted.per_key then coalesce(q.max_concurrency_per_key, q.declared_per_key) end,
           q.max_concurrency_per_key is not null or lifted.per_key,
           case when not lifted.rate then coalesce(q.rate_limit, q.declared_rate) end,
           q.rate_limit is not null or lifted.rate,
           case when not lifted.rate_per_key then coalesce(q.rate_limit_per_key, q.declared_rate_per_key) end,
           q.rate_limit_per_key is not null or lifted.rate_per_key,
           q.limits_set_by, q.limits_set_at
    from horsies.queues q
    cross join lateral (
        select 'per_key' = any (q.lifted_limits), 'rate' = any (q.lifted_limits),
               'rate_per_key' = any (q.lifted_limits)
    ) as lifted (per_key, rate, rate_per_key)
    where q.name = queue_name
$function$;
