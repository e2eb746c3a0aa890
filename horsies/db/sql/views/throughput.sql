-- Purpose: The numbers of tasks that ended in each minute, 10 minutes and hour, by queue and task, with percentiles of
-- their wait and run times. A percentile is the middle of its bucket, as in the class `Histogram` of the library. The
-- percentiles of one histogram are computed together. Each of the two subqueries returns one row, so that the planner
-- drops one whose columns are not selected, and counts cost no more than without percentiles. Minutes that are not
-- sampled yet follow, as the latest heartbeats of the workers have counted them (`is_current`); what workers do not
-- know is null there.
-- Version: 1.
-- Granted to: viewer, operator.
create view horsies.throughput as
select s.period_s, s.started_at, s.queue, s.task_name, s.completed, s.failed, s.cancelled, s.expired, s.retried,
       s.crashed, waited.p50 as wait_p50_s, waited.p95 as wait_p95_s, waited.p99 as wait_p99_s, ran.p50 as run_p50_s,
       ran.p95 as run_p95_s, ran.p99 as run_p99_s,
       s.wait_buckets, s.wait_counts, s.run_buckets, s.run_counts,
       (select g.sampled_until from horsies.sampling g) as known_until, false as is_current
from horsies.samples s
left join lateral (
    select min(d.duration) filter (where d.up_to >= ceil(0.5 * d.number)) as p50,
           min(d.duration) filter (where d.up_to >= ceil(0.95 * d.number)) as p95,
           min(d.duration) filter (where d.up_to >= ceil(0.99 * d.number)) as p99
    from (select 0.00001 * power(1.2::float8, case when u.bucket = 0 then 0 else u.bucket - 0.5 end) as duration,
                 sum(u.number::float8) over (rows unbounded preceding) as up_to,
                 sum(u.number::float8) over () as number
          from unnest(s.wait_buckets, s.wait_counts) as u (bucket, number)) as d
) as waited on true
left join lateral (
    select min(d.duration) filter (where d.up_to >= ceil(0.5 * d.number)) as p50,
           min(d.duration) filter (where d.up_to >= ceil(0.95 * d.number)) as p95,
           min(d.duration) filter (where d.up_to >= ceil(0.99 * d.number)) as p99
    from (select 0.00001 * power(1.2::float8, case when u.bucket = 0 then 0 else u.bucket - 0.5 end) as duration,
                 sum(u.number::float8) over (rows unbounded preceding) as up_to,
                 sum(u.number::float8) over () as number
          from unnest(s.run_buckets, s.run_counts) as u (bucket, number)) as d
) as ran on true
union all
select 60, c.started_at, c.queue, c.task_name, sum(c.completed)::bigint, sum(c.failed)::bigint, null::bigint,
       null::bigint, sum(c.retried)::bigint, null::bigint, null::float8, null::float8, null::float8, null::float8,
       null::float8, null::float8, null::smallint[], null::bigint[], null::smallint[], null::bigint[],
       (select g.sampled_until from horsies.sampling g), true
from horsies.current_counts c
where c.started_at >= coalesce((select g.sampled_until from horsies.sampling g), '-infinity')
group by c.started_at, c.queue, c.task_name;
