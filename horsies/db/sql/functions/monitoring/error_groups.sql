-- Purpose: List the error groups that had failures in the hours from `since` (null: 24 hours before now) until before
-- `until` (null: now), of a task and a code (null: any), those with the most failures first, at most `most`; `number`
-- counts the failed attempts in these hours. Every row also says from when on failures are counted, until when, and
-- what time it is. If there are no groups, one row has only that; and no row at all, if maintenance has never counted
-- failures. The cost grows with the number of groups and hours, not with that of failures.
--
-- `new_in` is the version of the app with which a group appeared: that of the worker that has the task and was started
-- last, if all failures in the first hour of the group had this version, and if a worker had another version in the
-- last week. Null: the group is older, or there was no other version.
-- Planner settings: see docs/architecture.md.
-- Locks: none.
-- Called by: queries/errors.py, views/errors.sql.
-- Granted to: viewer, operator.
create function horsies.error_groups(
    since timestamptz, until timestamptz, name text, code text, most int
) returns table (
    errors_since timestamptz, errors_until timestamptz, clock timestamptz, id bigint, task_name text, error_code text,
    frame text, message text, is_other boolean, first_seen timestamptz, last_seen timestamptz, example_id uuid,
    number bigint, new_in text
)
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set enable_seqscan = off set enable_mergejoin = off set jit = off set timezone = 'UTC'
as $function$
#variable_conflict use_column
declare
    this_moment constant timestamptz := horsies.now();
    first_moment constant timestamptz := date_trunc('hour', coalesce(since, this_moment - interval '24 hours'));
    end_moment constant timestamptz := coalesce(until, this_moment);
begin
    return query
    with version as materialized (      -- workers of one version have the same tasks
        select distinct on (w.app_version) w.app_version, w.started_at, w.task_names
        from horsies.workers w where w.app_version is not null order by w.app_version, w.started_at desc
    )
    select s.errors_since, least(s.errors_until, s.sampled_until), this_moment, found.*, origin.app_version
    from horsies.sampling s
    left join lateral (
        select g.id, g.task_name, g.error_code, g.frame, g.message, g.is_other, g.first_seen, g.last_seen,
               g.example_id, counted.number
        from (
            select c.group_id, sum(c.number)::bigint as number from horsies.error_counts c
            where c.period_s = 3600 and c.started_at >= first_moment and c.started_at < end_moment
            group by c.group_id
        ) as counted
        join horsies.error_groups g on g.id = counted.group_id
        where (name is null or g.task_name = name) and (code is null or g.error_code = code)
        order by counted.number desc, g.last_seen desc, g.id limit most
    ) as found on true
    left join lateral (
        select newest.app_version
        from (
            select v.app_version from version v where found.task_name = any (v.task_names)
            order by v.started_at desc, v.app_version limit 1
        ) as newest
        where exists (select from horsies.worker_versions o where o.app_version <> newest.app_version)
          and (select bool_and(c.app_version = newest.app_version) from horsies.error_counts c
               where c.period_s = 3600 and c.started_at = date_trunc('hour', found.first_seen)
                 and c.group_id = found.id)
    ) as origin on true
    where s.errors_since is not null
    order by found.number desc, found.last_seen desc, found.id;
end
$function$;
