-- Purpose: Record on workflow nodes that their tasks have ended at this time, and advance their runs. What happened
-- to the tasks is passed in, with one element for each task in all arrays, because a statement that reads it from
-- history would lock every partition. The task of a workflow node only builds the run, and the task of a map node only
-- expands or collects the map: the node stays open unless the task ended before it did so. Such a task commits its
-- work in one transaction, and its end is committed in a later one. If a failover loses the first, the worker still
-- reports the end to the new primary. The node then fails with WORKFLOW_ENQUEUE_FAILED.
-- Planner settings: see docs/architecture.md.
-- Locks: none. The caller holds the root runs, under which alone nodes change.
-- Called by: move_to_history.
-- Granted to: nobody.
create function horsies.workflow_note(
    ended uuid[], run_ids uuid[], node_indexes int[], item_indexes int[], names text[], statuses text[],
    results json[], secrets json[], codes text[], starts timestamptz[], at timestamptz
) returns void
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set jit = off set plan_cache_mode = force_generic_plan
as $function$
declare
    runs uuid[]; indexes int[];
begin
    with noted as (
        update horsies.workflow_nodes n
        set status = case when h.status = 'COMPLETED' and n.kind = 'task' then 'COMPLETED' else 'FAILED' end,
            result = case when h.status <> 'COMPLETED' or n.kind = 'task' then h.result else horsies.task_error(
                'WORKFLOW_ENQUEUE_FAILED',
                format('%s completed, but its work for this node was lost, probably in a failover', h.task_name)) end,
            secret_result = case when h.status <> 'COMPLETED' or n.kind = 'task' then h.secret_result end,
            error_code = case when h.status = 'COMPLETED' and n.kind <> 'task' then 'WORKFLOW_ENQUEUE_FAILED'
                              else h.error_code end,
            started_at = h.started_at, finished_at = at
        from unnest(ended, run_ids, node_indexes, item_indexes, names, statuses, results, secrets, codes, starts)
            as h (id, workflow_id, node_index, item, task_name, status, result, secret_result, error_code, started_at)
        where h.item is null and n.workflow_id = h.workflow_id
          and n.index = h.node_index and n.task_id = h.id and n.status = 'ENQUEUED' and n.child_id is null
          and coalesce(n.open_items, 0) = 0
        returning n.workflow_id, n.index
    )
    select array_agg(noted.workflow_id), array_agg(noted.index) into runs, indexes from noted;
    perform horsies.workflow_advance(runs, indexes);
    if coalesce(cardinality(runs), 0) < cardinality(ended) then
        perform horsies.workflow_note_items(run_ids, node_indexes, item_indexes, statuses, results, secrets);
    end if;
end
$function$;
