-- Purpose: Replace the samples of the longer periods that contain the times between `since` and `until` by the sums of
-- the samples of a shorter period.
-- Planner settings: see docs/architecture.md.
-- Locks: none.
-- Called by: sample_between.
-- Granted to: nobody.
create function horsies.roll_up(from_s int, to_s int, since timestamptz, until timestamptz) returns void
language plpgsql
set enable_seqscan = off set enable_nestloop = on set jit = off
as $function$
declare
    first_moment constant timestamptz := to_timestamp(floor(date_part('epoch', since) / to_s) * to_s);
    end_moment constant timestamptz := to_timestamp(ceil(date_part('epoch', until) / to_s) * to_s);
begin
    delete from horsies.samples s
    where s.period_s = to_s and s.started_at >= first_moment and s.started_at < end_moment;
    insert into horsies.samples
        (period_s, started_at, queue, task_name, completed, failed, cancelled, expired, retried, crashed,
         wait_buckets, wait_counts, run_buckets, run_counts)
    with given as materialized (
        select to_timestamp(floor(date_part('epoch', s.started_at) / to_s) * to_s) as begin, s.*
        from horsies.samples s
        where s.period_s = from_s and s.started_at >= first_moment and s.started_at < end_moment
    ),
    parts (begin, queue, task_name, kind, bucket, number, completed, failed, cancelled, expired, retried, crashed) as (
        select g.begin, g.queue, g.task_name, 'counts', null::smallint, null::bigint, sum(g.completed), sum(g.failed),
               sum(g.cancelled), sum(g.expired), sum(g.retried), sum(g.crashed)
        from given g group by 1, 2, 3
        union all
        select g.begin, g.queue, g.task_name, 'wait', b.bucket, sum(b.number)::bigint, 0, 0, 0, 0, 0, 0
        from given g cross join lateral unnest(g.wait_buckets, g.wait_counts) as b (bucket, number) group by 1, 2, 3, 5
        union all
        select g.begin, g.queue, g.task_name, 'run', b.bucket, sum(b.number)::bigint, 0, 0, 0, 0, 0, 0
        from given g cross join lateral unnest(g.run_buckets, g.run_counts) as b (bucket, number) group by 1, 2, 3, 5
    )
    select to_s, p.begin, p.queue, p.task_name, sum(p.completed), sum(p.failed), sum(p.cancelled), sum(p.expired),
           sum(p.retried), sum(p.crashed),
           coalesce(array_agg(p.bucket order by p.bucket) filter (where p.kind = 'wait'), '{}'),
           coalesce(array_agg(p.number order by p.bucket) filter (where p.kind = 'wait'), '{}'),
           coalesce(array_agg(p.bucket order by p.bucket) filter (where p.kind = 'run'), '{}'),
           coalesce(array_agg(p.number order by p.bucket) filter (where p.kind = 'run'), '{}')
    from parts p group by p.begin, p.queue, p.task_name;
end
$function$;
