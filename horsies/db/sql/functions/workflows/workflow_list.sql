-- Purpose: List the latest runs, at most `most`, optionally only those of one status. Child runs are left out. The
-- latest runs of each status are read by an index, so the cost does not depend on the number of other runs.
-- Planner settings: see docs/architecture.md.
-- Locks: none.
-- Called by: queries/workflows.py.
-- Granted to: viewer, operator.
create function horsies.workflow_list(wanted_status text, most int) returns setof uuid
security definer set search_path = pg_catalog, pg_temp
language sql stable
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $function$
    select found.id
    from unnest(array['RUNNING', 'PAUSED', 'COMPLETED', 'FAILED', 'CANCELLED']) as known (status)
    cross join lateral (
        select w.id, w.started_at from horsies.workflows w
        where w.status = known.status and w.parent_id is null
        order by w.started_at desc limit most
    ) as found
    where wanted_status is null or known.status = wanted_status
    order by found.started_at desc, found.id desc limit most
$function$;
