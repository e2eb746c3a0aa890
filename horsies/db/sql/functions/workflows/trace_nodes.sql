-- Purpose: Record on workflow nodes the spans of their tasks, to which the tasks of dependent nodes are linked. The
-- arrays have one element per task; the trace of a task without a span is null. The items of a map have spans of their
-- own, but the node of the map keeps that of the task that has expanded it.
-- Planner settings: see docs/architecture.md.
-- Locks: none. The caller holds the root runs, under which alone nodes change.
-- Called by: move_to_history.
-- Granted to: nobody.
create function horsies.trace_nodes(
    task_ids uuid[], run_ids uuid[], node_indexes int[], item_indexes int[], traces text[]
) returns void
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set jit = off set plan_cache_mode = force_generic_plan
as $function$
begin
    update horsies.workflow_nodes n set trace_parent = given.trace
    from unnest(task_ids, run_ids, node_indexes, item_indexes, traces) as given (task_id, run, index, item, trace)
    where n.workflow_id = given.run and n.index = given.index and n.task_id = given.task_id and given.item is null
      and given.trace is not null;
end
$function$;
