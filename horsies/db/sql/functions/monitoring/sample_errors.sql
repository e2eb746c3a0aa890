-- Purpose: Count the failed attempts of minutes by error group, and add them up to hours. A minute is counted again if
-- `samples` has another number of failed attempts. Each call counts a few minutes, the earliest first; `errors_until`
-- in the row of `sampling` says how far this has come. Returns the number of minutes; call again until it is 0.
--
-- A new group is created for each new combination of code, frame and message, for at most 20 messages of one code and
-- frame, and at most 950 combinations of a task. The other messages of a frame have one group, and the other errors of
-- a task have one, so that a task has at most about 1,000. A group stays until its last failure is older than samples
-- are kept, so the same failures always belong to the same group.
--
-- The errors of at most `most_analysed` failures of a minute are read, and no more of them after `most_seconds`, so
-- that a burst of failures cannot keep this from ending in time. Each combination of task and code has an equal share.
-- The other failures are counted without a frame, under the message `(not analysed)`.
--
-- As in `sample_between`, the times are literals of the statement, and history is read by its block range index. The
-- errors are read afterwards, by the ids of the chosen failures, because sorting would copy them.
-- Planner settings: see docs/architecture.md.
-- Locks: the row of `sampling`; the replaced rows.
-- Called by: queries/monitoring.py.
-- Granted to: worker.
create function horsies.sample_errors(most_analysed int default 5000, most_seconds double precision default 10)
returns int
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set enable_seqscan = off set enable_indexscan = off set enable_indexonlyscan = off set enable_mergejoin = off
set jit = off set work_mem = '32MB' set timezone = 'UTC' set datestyle = 'ISO'
as $function$
declare
    most_failures constant int := 10000;        -- of a call that counts several minutes
    state record;
    begin_at timestamptz;
    following timestamptz;
    minutes timestamptz[];
    hours timestamptz[];
begin
    select s.* into state from horsies.sampling s for update;
    if not found then
        return 0;
    end if;
    begin_at := state.errors_until;
    if begin_at is null or begin_at >= state.sampled_until then
        return 0;
    end if;
    perform horsies.keep_worker_versions();
    with changed as materialized (
        select coalesce(s.started_at, c.started_at) as minute, coalesce(s.number, 0) as number
        from (
            select s.started_at, sum(s.failed + s.retried) as number from horsies.samples s
            where s.period_s = 60 and s.started_at >= begin_at and s.started_at < state.sampled_until group by 1
        ) as s
        full join (
            select c.started_at, sum(c.number) as number from horsies.error_counts c
            where c.period_s = 60 and c.started_at >= begin_at and c.started_at < state.sampled_until group by 1
        ) as c on c.started_at = s.started_at
        where coalesce(s.number, 0) <> coalesce(c.number, 0)
    ),
    chosen as (
        select e.minute, e.minute < e.first_minute + interval '10 minutes'
                         and (e.minute = e.first_minute or e.earlier + e.number <= most_failures) as is_chosen
        from (
            select c.minute, c.number, min(c.minute) over () as first_minute,
                   sum(c.number) over (order by c.minute) - c.number as earlier
            from changed c
        ) as e
    )
    select array_agg(c.minute) filter (where c.is_chosen), min(c.minute) filter (where not c.is_chosen)
    into minutes, following from chosen c;
    update horsies.sampling s
    set errors_until = coalesce(following, state.sampled_until), errors_since = least(s.errors_since, begin_at);
    if minutes is null then
        return 0;
    end if;
    hours := array(select distinct date_trunc('hour', m.started_at) from unnest(minutes) as m (started_at));
    delete from horsies.error_counts c where c.period_s = 60 and c.started_at = any (minutes);
    execute format($statement$
        with failure as (
            select h.id, null::int as attempt, h.task_name, left(h.error_code, 200) as error_code, h.worker_id,
                   h.finished_at, date_trunc('minute', h.finished_at) as minute
            from horsies.history h
            where h.finished_at >= %1$L and h.finished_at < %2$L and h.status = 'FAILED'
            union all
            select a.task_id, a.attempt, coalesce(t.task_name, h.task_name), left(a.error_code, 200), a.worker_id,
                   a.finished_at, date_trunc('minute', a.finished_at)
            from horsies.attempts a
            left join lateral (select t.task_name from horsies.tasks t where t.id = a.task_id) t on true
            left join lateral (
                select h.task_name from horsies.history h
                where t.task_name is null and h.id = a.task_id and h.finished_at >= %3$L limit 1
            ) h on true
            where a.finished_at >= %1$L and a.finished_at < %2$L and coalesce(t.task_name, h.task_name) is not null
        ),
        numbered as (
            select f.*, row_number() over (
                       partition by f.minute, f.task_name, f.error_code order by f.finished_at, f.id) as nth
            from failure f where f.minute = any ($1)
        ),
        chosen as materialized (
            select n.*,
                   row_number() over (partition by n.minute order by n.nth, n.finished_at, n.id) <= $2 as is_chosen
            from numbered n
        ),
        deadline as materialized (      -- begins when the first error is to be read: the comparison reads it first
            select clock_timestamp() + make_interval(secs => $3) as moment
        ),
        counted as materialized (
            select f.minute, f.task_name, f.error_code, '' as frame, '(not analysed)' as message, f.worker_id,
                   count(*) as number, min(f.finished_at) as first_seen, max(f.finished_at) as last_seen,
                   (array_agg(f.id order by f.finished_at desc, f.id desc))[1] as example_id
            from chosen f where not f.is_chosen
            group by 1, 2, 3, 4, 5, 6
            union all
            select f.minute, f.task_name, f.error_code, c.frame, c.message, f.worker_id, count(*),
                   min(f.finished_at), max(f.finished_at),
                   (array_agg(f.id order by f.finished_at desc, f.id desc))[1]
            from (select * from chosen f where f.is_chosen) as f
            cross join lateral (
                select (select d.moment from deadline d) > clock_timestamp() as is_analysed offset 0
            ) as limits
            cross join lateral (
                select c.frame, c.message
                from horsies.error_content(
                    case when f.attempt is null
                         then (select h.result from horsies.history h
                               where h.id = f.id and h.finished_at >= %1$L and h.finished_at < %2$L)
                         else (select a.error from horsies.attempts a
                               where a.task_id = f.id and a.attempt = f.attempt) end) as c
                where limits.is_analysed
                union all
                select '', '(not analysed)' where not limits.is_analysed
            ) as c
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
    using minutes, most_analysed, most_seconds;

    delete from horsies.error_counts c where c.period_s = 3600 and c.started_at = any (hours);
    insert into horsies.error_counts (period_s, started_at, group_id, library_version, app_version, number)
    select 3600, date_trunc('hour', c.started_at), c.group_id, c.library_version, c.app_version, sum(c.number)
    from unnest(hours) as h (started_at)
    join horsies.error_counts c
        on c.period_s = 60 and c.started_at >= h.started_at and c.started_at < h.started_at + interval '1 hour'
    group by 2, 3, 4, 5;
    return cardinality(minutes);
end
$function$;
