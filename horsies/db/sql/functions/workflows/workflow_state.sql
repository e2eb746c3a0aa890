-- Purpose: Return the state of a run and the result of its output node. No row means that there is no such run.
-- The result and the error are null for users who may not see arguments. `with_secrets`, the result is complete for
-- users who may see secrets.
-- Planner settings: see docs/architecture.md.
-- Locks: none.
-- Called by: queries/workflows.py.
-- Granted to: producer, worker, viewer, operator.
create function horsies.workflow_state(run uuid, with_secrets boolean default false) returns table (
    id uuid, name text, status text, error json, output_index int, output_status text, output_result json,
    output_kind text, output_task text, total int, completed int, failed int, skipped int, started_at timestamptz,
    finished_at timestamptz
)
security definer set search_path = pg_catalog, pg_temp
language sql stable set enable_seqscan = off as $function$
    select w.id, w.name, w.status, case when horsies.sees_arguments() then w.error end, w.output_index, o.status,
           case when with_secrets and o.secret_result is not null and horsies.sees_secrets() then o.secret_result
                when horsies.sees_arguments() then o.result end, coalesce(o.result_kind, o.kind),
           coalesce(o.result_task, o.task_name), w.total, w.completed, w.failed, w.skipped, w.started_at, w.finished_at
    from horsies.workflows w
    left join horsies.workflow_nodes o
        on o.workflow_id = w.id and o.index = w.output_index and w.status = 'COMPLETED'
    where w.id = run
$function$;
