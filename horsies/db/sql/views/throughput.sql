-- Purpose: The numbers of tasks that ended in each minute, 10 minutes and hour, by queue and task, with percentiles of
-- their wait and run times. A percentile is the middle of its bucket, as in the class `Histogram` of the library. Each
-- is a subquery of its own, so that only those are computed whose columns are selected. The buckets are in order, so a
-- subquery ends at the first one that reaches the fraction. Minutes that are not sampled yet follow, as the latest
-- heartbeats of the workers have counted them (`is_current`); what workers do not know is null there.
-- Version: 1.
-- Granted to: viewer, operator.
create view horsies.throughput as
select s.period_s, s.started_at, s.queue, s.task_name, s.completed, s.failed, s.cancelled, s.expired, s.retried,
       s.crashed,
       (select 0.00001 * power(1.2::float8, case when b.bucket = 0 then 0 else b.bucket - 0.5 end)
        from (select u.bucket, sum(u.number::float8) over (rows unbounded preceding) as up_to
              from unnest(s.wait_buckets, s.wait_counts) as u (bucket, number)) as b
        where b.up_to >= (select ceil(0.5 * sum(n::float8)) from unnest(s.wait_counts) as n) limit 1) as wait_p50_s,
       (select 0.00001 * power(1.2::float8, case when b.bucket = 0 then 0 else b.bucket - 0.5 end)
        from (select u.bucket, sum(u.number::float8) over (rows unbounded preceding) as up_to
              from unnest(s.wait_buckets, s.wait_counts) as u (bucket, number)) as b
        where b.up_to >= (select ceil(0.95 * sum(n::float8)) from unnest(s.wait_counts) as n) limit 1) as wait_p95_s,
       (select 0.00001 * power(1.2::float8, case when b.bucket = 0 then 0 else b.bucket - 0.5 end)
        from (select u.bucket, sum(u.number::float8) over (rows unbounded preceding) as up_to
              from unnest(s.wait_buckets, s.wait_counts) as u (bucket, number)) as b
        where b.up_to >= (select ceil(0.99 * sum(n::float8)) from unnest(s.wait_counts) as n) limit 1) as wait_p99_s,
       (select 0.00001 * power(1.2::float8, case when b.bucket = 0 then 0 else b.bucket - 0.5 end)
        from (select u.bucket, sum(u.number::float8) over (rows unbounded preceding) as up_to
              from unnest(s.run_buckets, s.run_counts) as u (bucket, number)) as b
        where b.up_to >= (select ceil(0.5 * sum(n::float8)) from unnest(s.run_counts) as n) limit 1) as run_p50_s,
       (select 0.00001 * power(1.2::float8, case when b.bucket = 0 then 0 else b.bucket - 0.5 end)
        from (select u.bucket, sum(u.number::float8) over (rows unbounded preceding) as up_to
              from unnest(s.run_buckets, s.run_counts) as u (bucket, number)) as b
        where b.up_to >= (select ceil(0.95 * sum(n::float8)) from unnest(s.run_counts) as n) limit 1) as run_p95_s,
       (select 0.00001 * power(1.2::float8, case when b.bucket = 0 then 0 else b.bucket - 0.5 end)
        from (select u.bucket, sum(u.number::float8) over (rows unbounded preceding) as up_to
              from unnest(s.run_buckets, s.run_counts) as u (bucket, number)) as b
        where b.up_to >= (select ceil(0.99 * sum(n::float8)) from unnest(s.run_counts) as n) limit 1) as run_p99_s,
       s.wait_buckets, s.wait_counts, s.run_buckets, s.run_counts,
       (select g.sampled_until from horsies.sampling g) as known_until, false as is_current
from horsies.samples s
union all
select 60, c.started_at, c.queue, c.task_name, sum(c.completed)::bigint, sum(c.failed)::bigint, null::bigint,
       null::bigint, sum(c.retried)::bigint, null::bigint, null::float8, null::float8, null::float8, null::float8,
       null::float8, null::float8, null::smallint[], null::bigint[], null::smallint[], null::bigint[],
       (select g.sampled_until from horsies.sampling g), true
from horsies.current_counts c
where c.started_at >= coalesce((select g.sampled_until from horsies.sampling g), '-infinity')
group by c.started_at, c.queue, c.task_name;
