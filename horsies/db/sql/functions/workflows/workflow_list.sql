-- Purpose: List the latest runs, at most `most`, optionally only those of one status. Child runs are left out.
-- Planner settings: see docs/architecture.md.
-- Locks: none.
-- Called by: queries/workflows.py.
-- Granted to: viewer, operator.
create function horsies.workflow_list(wanted_status text, most int) returns setof uuid
security definer set search_path = pg_catalog, pg_temp
language sql stable set enable_seqscan = off as $function$
    select w.id from horsies.workflows w
    where w.parent_id is null and (wanted_status is null or w.status = wanted_status)
    order by w.started_at desc limit most
$function$;
