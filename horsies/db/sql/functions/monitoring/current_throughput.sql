-- Purpose: Return the attempts of minutes that are not sampled yet, as the latest heartbeats of the workers have
-- counted them: of the minutes that began from `since` until before `until`, of a queue and a task (null: any), the
-- earliest first, at most `most`. These numbers still grow.
-- Planner settings: see docs/architecture.md.
-- Locks: none.
-- Called by: queries/monitoring.py.
-- Granted to: viewer, operator.
create function horsies.current_throughput(
    since timestamptz, until timestamptz, queue_name text, name text, most int
) returns table (
    started_at timestamptz, queue text, task_name text, completed bigint, failed bigint, retried bigint
)
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $function$
declare
    unsampled constant timestamptz :=
        greatest(since, coalesce((select g.sampled_until from horsies.sampling g), '-infinity'));
begin
    return query
    select c.started_at, c.queue, c.task_name, sum(c.completed)::bigint, sum(c.failed)::bigint, sum(c.retried)::bigint
    from horsies.current_counts c
    where c.started_at >= unsampled and c.started_at < until
      and (queue_name is null or c.queue = queue_name) and (name is null or c.task_name = name)
    group by c.started_at, c.queue, c.task_name
    order by c.started_at, c.queue, c.task_name limit most;
end
$function$;
