-- Purpose: Return what is known about a run itself: its definition, its progress, and the run and the node that
-- contain it. With `with_error` also its error, which is null for users who may not see arguments. No row means that
-- there is no such run.
-- Planner settings: see docs/architecture.md.
-- Locks: none.
-- Called by: queries/runs.py.
-- Granted to: viewer, operator.
create function horsies.run_facts(run uuid, with_error boolean) returns table (
    id uuid, name text, definition_key text, status text, on_error text, parent_id uuid, parent_node text, total int,
    completed int, failed int, skipped int, failed_node text, error json, started_at timestamptz,
    finished_at timestamptz
)
security definer set search_path = pg_catalog, pg_temp
language sql stable set enable_seqscan = off as $function$
    select w.id, w.name, w.definition_key, w.status, w.on_error, w.parent_id, p.node_id, w.total, w.completed,
           w.failed, w.skipped, f.node_id, case when with_error and horsies.sees_arguments() then w.error end,
           w.started_at, w.finished_at
    from horsies.workflows w
    left join horsies.workflow_nodes p on p.workflow_id = w.parent_id and p.index = w.parent_index
    left join horsies.workflow_nodes f on f.workflow_id = w.id and f.index = w.failed_index
    where w.id = run
$function$;
