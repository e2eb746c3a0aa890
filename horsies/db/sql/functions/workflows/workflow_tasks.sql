-- Purpose: List the nodes of a run in the order of its spec, or only the node with the given id. `with_results` adds
-- the results of nodes, and the summaries of child runs that have ended. A node is RUNNING from the first start of
-- its task, including the time between attempts. Results and summaries are null for users who may not see
-- arguments. `with_secrets`, they are complete for users who may see secrets.
-- Planner settings: see docs/architecture.md.
-- Locks: none.
-- Called by: queries/workflows.py.
-- Granted to: producer, worker, viewer, operator.
create function horsies.workflow_tasks(
    run uuid, wanted text, with_results boolean, with_secrets boolean default false
) returns table (
    index int, node_id text, kind text, task_name text, status text, result json, error_code text, result_kind text,
    result_task text, waits_for int[], is_leaf boolean, child_id uuid, summary json, started_at timestamptz,
    finished_at timestamptz
)
security definer set search_path = pg_catalog, pg_temp
language sql stable set enable_seqscan = off as $function$
    select n.index, n.node_id, n.kind, n.task_name, case
               when n.status in ('READY', 'ENQUEUED')
                    and (n.child_id is not null or n.open_items is not null or coalesce(t.attempt, 0) > 0)
                   then 'RUNNING'
               else n.status end,
           case when with_secrets and n.secret_result is not null and horsies.sees_secrets() then n.secret_result
                when with_results and horsies.sees_arguments() then n.result end, n.error_code,
           coalesce(n.result_kind, n.kind), coalesce(n.result_task, n.task_name), n.waits_for,
           not exists (select from horsies.workflow_edges e where e.workflow_id = run and e.source = n.index),
           n.child_id,
           case when with_secrets and n.secret_summary is not null and horsies.sees_secrets() then n.secret_summary
                when with_results and horsies.sees_arguments() then n.summary end,
           coalesce(n.started_at, t.started_at), n.finished_at
    from horsies.workflow_nodes n left join horsies.tasks t on n.status = 'ENQUEUED' and t.id = n.task_id
    where n.workflow_id = run and (wanted is null or n.node_id = wanted)
    order by n.index
$function$;
