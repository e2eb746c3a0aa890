-- Purpose: Compute the samples of the minutes between two times from history and attempts, replace the rows of these
-- minutes, and roll up the periods that contain them.
--
-- The times are written into the statement as literals, so that it is planned for the partitions between them only.
-- `history_finished` finds the rows of history; see `summarize_history`.
--
-- A retried attempt has no queue and no name: they are those of its task, which is live or has ended since. If the
-- clock was set back, the task may have ended up to a day earlier than its attempt.
-- Planner settings: see docs/architecture.md.
-- Locks: none but those of the replaced rows.
-- Called by: sample.
-- Granted to: nobody.
create function horsies.sample_between(since timestamptz, until timestamptz) returns void
language plpgsql
set enable_seqscan = off set enable_indexscan = off set enable_indexonlyscan = off set enable_hashjoin = off
set enable_mergejoin = off set jit = off set work_mem = '32MB' set timezone = 'UTC' set datestyle = 'ISO'
as $function$
begin
    delete from horsies.samples s where s.period_s = 60 and s.started_at >= since and s.started_at < until;
    execute format($statement$
        insert into horsies.samples
            (period_s, started_at, queue, task_name, completed, failed, cancelled, expired, retried, crashed,
             wait_buckets, wait_counts, run_buckets, run_counts)
        with counted as materialized (
            select floor(date_part('epoch', h.finished_at) / 60) as minute, h.queue, h.task_name, h.status,
                   h.error_code is not distinct from 'WORKER_CRASHED' as has_crashed,
                   case when h.started_at is not null
                        then horsies.sample_bucket(date_part('epoch', h.started_at - h.run_at)) end as wait,
                   case when h.status in ('COMPLETED', 'FAILED') and h.started_at is not null
                             and h.error_code is distinct from 'WORKER_CRASHED'
                        then horsies.sample_bucket(date_part('epoch', h.finished_at - h.started_at)) end as run,
                   count(*) as number
            from horsies.history h
            where h.finished_at >= %1$L and h.finished_at < %2$L
            group by 1, 2, 3, 4, 5, 6, 7
            union all
            select floor(date_part('epoch', a.finished_at) / 60), coalesce(t.queue, h.queue),
                   coalesce(t.task_name, h.task_name),
                   'RETRIED', a.outcome = 'WORKER_FAILURE', null::smallint,
                   case when a.outcome <> 'WORKER_FAILURE'
                        then horsies.sample_bucket(date_part('epoch', a.finished_at - a.started_at)) end,
                   count(*)
            from horsies.attempts a
            left join lateral (select t.queue, t.task_name from horsies.tasks t where t.id = a.task_id) t on true
            left join lateral (
                select h.queue, h.task_name from horsies.history h
                where t.queue is null and h.id = a.task_id and h.finished_at >= %3$L limit 1
            ) h on true
            where a.finished_at >= %1$L and a.finished_at < %2$L and coalesce(t.queue, h.queue) is not null
            group by 1, 2, 3, 4, 5, 6, 7
        ),
        parts (minute, queue, task_name, kind, has_crashed, bucket, number) as (
            select c.minute, c.queue, c.task_name, c.status, c.has_crashed, null::smallint, sum(c.number)::bigint
            from counted c group by 1, 2, 3, 4, 5
            union all
            select c.minute, c.queue, c.task_name, 'wait', false, c.wait, sum(c.number)::bigint
            from counted c where c.wait is not null group by 1, 2, 3, 6
            union all
            select c.minute, c.queue, c.task_name, 'run', false, c.run, sum(c.number)::bigint
            from counted c where c.run is not null group by 1, 2, 3, 6
        )
        select 60, to_timestamp(p.minute * 60), p.queue, p.task_name,
               coalesce(sum(p.number) filter (where p.kind = 'COMPLETED'), 0),
               coalesce(sum(p.number) filter (where p.kind = 'FAILED'), 0),
               coalesce(sum(p.number) filter (where p.kind = 'CANCELLED'), 0),
               coalesce(sum(p.number) filter (where p.kind = 'EXPIRED'), 0),
               coalesce(sum(p.number) filter (where p.kind = 'RETRIED'), 0),
               coalesce(sum(p.number) filter (where p.has_crashed), 0),
               coalesce(array_agg(p.bucket order by p.bucket) filter (where p.kind = 'wait'), '{}'),
               coalesce(array_agg(p.number order by p.bucket) filter (where p.kind = 'wait'), '{}'),
               coalesce(array_agg(p.bucket order by p.bucket) filter (where p.kind = 'run'), '{}'),
               coalesce(array_agg(p.number order by p.bucket) filter (where p.kind = 'run'), '{}')
        from parts p group by p.minute, p.queue, p.task_name
        $statement$, since, until, since - interval '1 day');
    perform horsies.roll_up(60, 600, since, until);
    perform horsies.roll_up(600, 3600, since, until);
end
$function$;
