-- Purpose: End the nodes of parent runs that stand for these ended runs: with the result of the output node, or with
-- a failure that summarizes the run. Returns the nodes that had not ended before. A run can complete by its success
-- policy although its output node did not; it then has no value, and its node fails with the error of the output
-- node. (A message that contains NUL cannot be stored as text and is left out of the summary.)
-- Planner settings: see docs/architecture.md.
-- Locks: none. The caller holds the root runs, under which alone nodes change.
-- Called by: workflow_cancel, workflow_settle.
-- Granted to: nobody.
create function horsies.workflow_end_nodes(ended uuid[]) returns table (run uuid, index int)
language sql set enable_hashjoin = off set enable_mergejoin = off as $function$
    with child as (
        select w.*, o.result as output, o.secret_result as secret_output, o.error_code,
               coalesce(o.result_kind, o.kind) as kind, coalesce(o.result_task, o.task_name) as task_name,
               coalesce(o.status, 'COMPLETED') = 'COMPLETED' as is_ok,
               case when position(E'\\u0000' in w.error::text) = 0 then w.error ->> 'message' end as reason
        from horsies.workflows w
        left join horsies.workflow_nodes o
            on o.workflow_id = w.id and o.index = w.output_index and w.status = 'COMPLETED'
        where w.id = any (ended) and w.parent_id is not null
    ),
    summed as (
        select c.*, (c.figures || coalesce(case when c.is_ok then c.output end, 'null') || '}')::json as summary,
               case when c.is_ok and c.secret_output is not null
                    then (c.figures || c.secret_output || '}')::json end as secret_summary
        from (
            select child.*, left(json_build_object(
                       'status', child.status, 'total_tasks', child.total, 'completed_tasks', child.completed,
                       'failed_tasks', child.failed, 'skipped_tasks', child.skipped, 'error_summary', child.reason
                   )::text, -1) || ',"output":' as figures
            from child
        ) as c
    )
    update horsies.workflow_nodes n
    set status = case when c.error is null and c.is_ok then 'COMPLETED' else 'FAILED' end, summary = c.summary,
        secret_summary = c.secret_summary, finished_at = c.finished_at, result_kind = c.kind,
        result_task = c.task_name, secret_result = case when c.error is null then c.secret_output end,
        result = case when c.error is null then coalesce(c.output, 'null') else json_build_object(
            'error_code', 'SUBWORKFLOW_FAILED',
            'message', 'the run of this node did not complete' || coalesce(': ' || c.reason, ''),
            'data', null, 'exception', null, 'sub_workflow_id', c.id, 'sub_workflow_summary', c.summary) end,
        error_code = case when c.error is null then c.error_code else 'SUBWORKFLOW_FAILED' end
    from summed c
    where n.workflow_id = c.parent_id and n.index = c.parent_index and n.status = 'ENQUEUED'
    returning n.workflow_id, n.index
$function$;
