-- Purpose: Return the delays before the further retries of a live task, if its attempts keep failing with codes that
-- its policy retries: `retry` is the number of the retry, and `delay` its delay in seconds, without jitter. A retry
-- that is planned already is left out; `task_info` has its time. There are no rows for a task that has ended or has no
-- policy.
-- Planner settings: see docs/architecture.md.
-- Locks: none.
-- Called by: queries/monitoring.py.
-- Granted to: viewer, operator.
create function horsies.retry_forecast(wanted uuid) returns table (retry int, delay double precision)
security definer set search_path = pg_catalog, pg_temp
language sql stable set enable_seqscan = off as $function$
    select n, least(
        case t.retry_policy ->> 'strategy'
            when 'exponential' then (t.retry_policy -> 'intervals' ->> 0)::double precision * 2 ^ (n - 1)
            else (t.retry_policy -> 'intervals' ->> (n - 1))::double precision end,
        (t.retry_policy ->> 'max_delay')::double precision)
    from horsies.tasks t
    -- A running attempt is the next one that may fail; otherwise that is the attempt after the last one.
    cross join lateral generate_series(
        t.attempt + case t.status when 'RUNNING' then 0 else 1 end,
        least((t.retry_policy ->> 'max_retries')::int, 1000)) as n
    where t.id = wanted
    order by n
$function$;
