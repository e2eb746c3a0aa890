-- Purpose: Return the samples of periods of `period` seconds that began from `since` until before `until`, of a
-- queue and a task (null: any), the earliest first, at most `most`. Every row also says from when on there are
-- samples, until when, and what time it is. If there are no samples, one row has only that; and no row at all, if
-- maintenance has never run.
-- Planner settings: see docs/architecture.md.
-- Locks: none.
-- Called by: queries/monitoring.py.
-- Granted to: viewer, operator.
create function horsies.throughput(
    period int, since timestamptz, until timestamptz, queue_name text, name text, most int
) returns table (
    first_minute timestamptz, sampled_until timestamptz, clock timestamptz, started_at timestamptz, queue text,
    task_name text, completed bigint, failed bigint, cancelled bigint, expired bigint, retried bigint, crashed bigint,
    wait_buckets smallint[], wait_counts bigint[], run_buckets smallint[], run_counts bigint[]
)
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $function$
declare
    this_moment constant timestamptz := horsies.now();
begin
    return query
    select g.first_minute, g.sampled_until, this_moment, found.started_at, found.queue, found.task_name,
           found.completed, found.failed, found.cancelled, found.expired, found.retried, found.crashed,
           found.wait_buckets, found.wait_counts, found.run_buckets, found.run_counts
    from horsies.sampling g
    left join lateral (
        select * from horsies.samples s
        where s.period_s = period and s.started_at >= since and s.started_at < until
          and (queue_name is null or s.queue = queue_name) and (name is null or s.task_name = name)
        order by s.started_at, s.queue, s.task_name limit most
    ) as found on true
    order by found.started_at, found.queue, found.task_name;
end
$function$;
