-- Purpose: Count the failed attempts of the minutes between two times by error group, and add them up to hours.
-- A minute is counted again if `samples`, which must be up to date, has another number of failed attempts. A new group
-- is created for each new combination of code, frame and message, for at most 20 messages of one code and frame, and
-- at most 950 combinations of a task. The other messages of a frame have one group, and the other errors of a task
-- have one, so that a task has at most about 1,000. A group stays until its last failure is older than samples are
-- kept, so the same failures always belong to the same group.
--
-- As in `sample_between`, the times are literals of the statement, and history is read by its block range index.
-- Planner settings: see docs/architecture.md.
-- Locks: none but those of the replaced rows.
-- Called by: sample.
-- Granted to: nobody.
create function horsies.sample_errors(since timestamptz, until timestamptz) returns void
language plpgsql
set enable_seqscan = off set enable_indexscan = off set enable_indexonlyscan = off set enable_mergejoin = off
set jit = off set work_mem = '32MB' set timezone = 'UTC' set datestyle = 'ISO'
as $function$
declare
    minutes timestamptz[];
    hours timestamptz[];
begin
    perform horsies.keep_worker_versions();
    select array_agg(coalesce(s.started_at, c.started_at)) into minutes
    from (
        select s.started_at, sum(s.failed + s.retried) as number from horsies.samples s
        where s.period_s = 60 and s.started_at >= since and s.started_at < until group by 1
    ) as s
    full join (
        select c.started_at, sum(c.number) as number from horsies.error_counts c
        where c.period_s = 60 and c.started_at >= since and c.started_at < until group by 1
    ) as c on c.started_at = s.started_at
    where coalesce(s.number, 0) <> coalesce(c.number, 0);
    if minutes is null then
        return;
    end if;
    hours := array(select distinct date_trunc('hour', m.started_at) from unnest(minutes) as m (started_at));
    delete from horsies.error_counts c where c.period_s = 60 and c.started_at = any (minutes);
    execute format($statement$
        with failure as (
            select h.id, h.task_name, h.error_code, h.result as error, h.worker_id, h.finished_at
            from horsies.history h
            where h.finished_at >= %1$L and h.finished_at < %2$L and h.status = 'FAILED'
            union all
            select a.task_id, coalesce(t.task_name, h.task_name), a.error_code, a.error, a.worker_id, a.finished_at
            from horsies.attempts a
            left join lateral (select t.task_name from horsies.tasks t where t.id = a.task_id) t on true
            left join lateral (
                select h.task_name from horsies.history h
                where t.task_name is null and h.id = a.task_id and h.finished_at >= %3$L limit 1
            ) h on true
            where a.finished_at >= %1$L and a.finished_at < %2$L and coalesce(t.task_name, h.task_name) is not null
        ),
        counted as materialized (
            select date_trunc('minute', f.finished_at) as minute, f.task_name, left(f.error_code, 200) as error_code,
                   c.frame, c.message, f.worker_id, count(*) as number, min(f.finished_at) as first_seen,
                   max(f.finished_at) as last_seen,
                   (array_agg(f.id order by f.finished_at desc, f.id desc))[1] as example_id
            from failure f
            cross join lateral horsies.error_content(f.error) as c
            where date_trunc('minute', f.finished_at) = any ($1)
            group by 1, 2, 3, 4, 5, 6
        )
        insert into horsies.error_counts (period_s, started_at, group_id, library_version, app_version, number)
        select 60, c.minute, g.group_id, coalesce(v.library_version, ''), coalesce(v.app_version, ''), sum(c.number)
        from horsies.group_errors((select json_agg(each) from (
            select e.task_name, e.error_code, e.frame, e.message, min(e.first_seen) as first_seen,
                   max(e.last_seen) as last_seen, (array_agg(e.example_id order by e.last_seen desc))[1] as example_id
            from counted e group by 1, 2, 3, 4) as each)) as g
        join counted c on c.task_name = g.task_name and c.error_code = g.error_code and c.frame = g.frame
                      and c.message = g.message
        left join horsies.worker_versions v on v.worker_id = c.worker_id
        group by 2, 3, 4, 5
        $statement$,
        (select min(m) from unnest(minutes) as m), (select max(m) + interval '1 minute' from unnest(minutes) as m),
        (select min(m) - interval '1 day' from unnest(minutes) as m))
    using minutes;

    delete from horsies.error_counts c where c.period_s = 3600 and c.started_at = any (hours);
    insert into horsies.error_counts (period_s, started_at, group_id, library_version, app_version, number)
    select 3600, date_trunc('hour', c.started_at), c.group_id, c.library_version, c.app_version, sum(c.number)
    from unnest(hours) as h (started_at)
    join horsies.error_counts c
        on c.period_s = 60 and c.started_at >= h.started_at and c.started_at < h.started_at + interval '1 hour'
    group by 2, 3, 4, 5;
end
$function$;
