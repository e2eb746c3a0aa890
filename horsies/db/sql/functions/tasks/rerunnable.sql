-- Purpose: Preview a bulk rerun. Selects ended tasks by status, queue, name and error code that ended from `since`
-- until before `until` (null: any). Tasks that have a rerun are left out unless `again` is true. Returns one row:
-- how many tasks were selected, how many were left out, the time up to which tasks count (the clock, or `until` if
-- that is earlier), and the `most` selected tasks that ended first, each with its current number of reruns.
--
-- The query scans all of history between the two times. Only operators call it, and rarely; an index by status would
-- make every finish slower.
--
-- Planner settings: see docs/architecture.md.
-- Locks: none.
-- Called by: queries/monitoring.py.
-- Granted to: operator.
create function horsies.rerunnable(
    statuses text[], queue_name text, name text, codes text[], since timestamptz, until timestamptz, again boolean,
    most int
) returns table (matching bigint, left_out bigint, cut_off timestamptz, ids uuid[], reruns int[])
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set jit = off
as $function$
begin
    cut_off := least(horsies.now(), until);
    return query
    with found as materialized (
        select h.id, h.finished_at,
               (select count(*)::int from horsies.reruns r where r.origin = h.id) as reruns
        from horsies.history h
        where h.status = any (statuses) and (queue_name is null or h.queue = queue_name)
          and (name is null or h.task_name = name) and (codes is null or h.error_code = any (codes))
          and h.finished_at >= coalesce(since, '-infinity') and h.finished_at <= cut_off
          and (until is null or h.finished_at < until)
    ),
    first_ended as (
        select f.id, f.reruns, row_number() over (order by f.finished_at, f.id) as place
        from found f where again or f.reruns = 0 order by f.finished_at, f.id limit most
    )
    select (select count(*) from found f where again or f.reruns = 0),
           (select count(*) from found f where not again and f.reruns > 0),
           cut_off,
           array(select e.id from first_ended e order by e.place),
           array(select e.reruns from first_ended e order by e.place);
end
$function$;
