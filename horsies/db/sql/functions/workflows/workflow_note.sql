-- Purpose: tasks of nodes have ended, at this very time: note it on the nodes and advance their runs. The task of a node
-- that is a workflow only built the run, that of a map only expanded or collected it: unless these ended before they
-- did so, the node goes on. They do so in a transaction before their end's, which a fail-over may lose alone.
-- Locks: none of its own; its caller holds the root runs. Called by: finish_batch, end_tasks.
create function horsies.workflow_note(ended uuid[], at timestamptz) returns void
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
                format('what %s did for this node was lost: a fail-over?', h.task_name)) end,
            error_code = case when h.status = 'COMPLETED' and n.kind <> 'task' then 'WORKFLOW_ENQUEUE_FAILED'
                              else h.error_code end,
            started_at = h.started_at, finished_at = at
        from horsies.history h
        where h.id = any (ended) and h.finished_at = at and h.item is null and n.workflow_id = h.workflow_id
          and n.index = h.node_index and n.task_id = h.id and n.status = 'ENQUEUED' and n.child_id is null
          and coalesce(n.open_items, 0) = 0
        returning n.workflow_id, n.index
    )
    select array_agg(noted.workflow_id), array_agg(noted.index) into runs, indexes from noted;
    perform horsies.workflow_advance(runs, indexes);
    if coalesce(cardinality(runs), 0) < cardinality(ended) then
        perform horsies.workflow_note_items(ended, at);
    end if;
end
$function$;
