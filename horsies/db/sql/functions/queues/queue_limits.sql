-- Purpose: Return the limits of a queue that are in effect, and for each whether it was set at run time; also whether
-- the queue is keyed, and who has set a limit at run time, and when. No row: nothing is declared and nothing was set.
-- Locks: none.
-- Called by: queries/limits.py.
-- Granted to: viewer, operator.
create function horsies.queue_limits(queue_name text) returns table (
    is_keyed boolean, per_key int, per_key_is_set boolean, rate json, rate_is_set boolean, rate_per_key json,
    rate_per_key_is_set boolean, set_by text, set_at timestamptz
)
security definer set search_path = pg_catalog, pg_temp
language sql stable as $function$
    select q.turns = 'on', coalesce(q.max_concurrency_per_key, q.declared_per_key),
           q.max_concurrency_per_key is not null, coalesce(q.rate_limit, q.declared_rate), q.rate_limit is not null,
           coalesce(q.rate_limit_per_key, q.declared_rate_per_key), q.rate_limit_per_key is not null,
           q.limits_set_by, q.limits_set_at
    from horsies.queues q where q.name = queue_name
$function$;
