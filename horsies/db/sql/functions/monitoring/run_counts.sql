-- Purpose: Count the workflow runs by status, without child runs: those that have not ended, and those that ended in
-- the last `ended_within` seconds. `is_exact` is false if there are more runs than the number says: each status of
-- live runs is counted up to `most`, and of the runs that ended last (child runs among them) three times as many are
-- searched.
-- Planner settings: see docs/architecture.md.
-- Locks: none.
-- Called by: queries/status.py.
-- Granted to: viewer, operator.
create function horsies.run_counts(ended_within double precision, most int default 10000)
returns table (status text, runs bigint, is_exact boolean, clock timestamptz)
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $function$
declare
    this_moment constant timestamptz := horsies.now();
    since constant timestamptz := this_moment - make_interval(secs => ended_within);
begin
    return query
    with ended as materialized (
        select w.status, w.parent_id from horsies.workflows w
        where w.finished_at >= since
        order by w.finished_at desc limit 3 * most + 1
    )
    select known.status, least(counted.number, most), counted.number <= most, this_moment
    from unnest(array['RUNNING', 'PAUSED']) as known (status)
    cross join lateral (
        select count(*) as number from (
            select from horsies.workflows w
            where w.status = known.status and w.finished_at is null and w.parent_id is null limit most + 1
        ) as few
    ) as counted
    union all
    select known.status, counted.number, (select count(*) from ended) <= 3 * most, this_moment
    from unnest(array['COMPLETED', 'FAILED', 'CANCELLED']) as known (status)
    cross join lateral (
        select count(*) as number from ended e where e.status = known.status and e.parent_id is null
    ) as counted;
end
$function$;
