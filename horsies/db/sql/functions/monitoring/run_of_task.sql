-- Purpose: Return the workflow run to which a task belongs, live or ended, with the node that has sent it and, of a
-- map, the item. No row means that the task belongs to no run, or that the run was pruned.
-- Planner settings: see docs/architecture.md.
-- Locks: none.
-- Called by: queries/runs.py.
-- Granted to: viewer, operator.
create function horsies.run_of_task(wanted uuid) returns table (run_id uuid, name text, node_id text, item int)
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set enable_seqscan = off set jit = off
as $function$
declare
    found_run uuid;
    found_index int;
    found_item int;
begin
    select t.workflow_id, t.node_index, t.item into found_run, found_index, found_item
    from horsies.tasks t where t.id = wanted;
    if not found then
        select h.workflow_id, h.node_index, h.item into found_run, found_index, found_item
        from horsies.find_ended(wanted) h;
    end if;
    return query
    select w.id, w.name, n.node_id, found_item
    from horsies.workflows w join horsies.workflow_nodes n on n.workflow_id = w.id and n.index = found_index
    where w.id = found_run;
end
$function$;
