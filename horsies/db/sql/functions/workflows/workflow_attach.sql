-- Purpose: Start the run that a workflow node stands for, below the run of that node. Returns 'attached', 'known'
-- (it was attached before, and the reply was lost), 'lost' (the building task no longer belongs to this attempt, or
-- its run has ended) or 'recursive' (a run of the same definition is above the node). Below a paused run, the new
-- run is also paused.
-- Planner settings: see docs/architecture.md.
-- Locks: the root run.
-- Called by: queries/workflows.py.
-- Granted to: worker.
create function horsies.workflow_attach(
    building_task uuid, running_attempt int, new_id uuid, document json, new_fingerprint bytea
) returns text
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $function$
declare
    node horsies.workflow_nodes;
    parent horsies.workflows;
begin
    perform horsies.durable();
    perform horsies.need_read_committed();
    perform horsies.lock_roots(array[building_task]);
    select n.* into node
    from horsies.tasks t join horsies.workflow_nodes n on n.workflow_id = t.workflow_id and n.index = t.node_index
    where t.id = building_task and t.attempt = running_attempt and t.started_at is not null and n.status = 'ENQUEUED';
    if not found or node.child_id is not null then
        return case when node.child_id is null then 'lost' else 'known' end;
    end if;
    with recursive above as (
        select w.* from horsies.workflows w where w.id = node.workflow_id
        union all
        select w.* from above join horsies.workflows w on w.id = above.parent_id
    )
    select above.* into parent from above where above.definition_key = document ->> 'definition_key' limit 1;
    if found then
        return 'recursive';
    end if;
    select w.* into parent from horsies.workflows w where w.id = node.workflow_id;
    update horsies.workflow_nodes n set child_id = new_id, started_at = horsies.now()
    where n.workflow_id = node.workflow_id and n.index = node.index;
    perform horsies.workflow_insert(
        new_id, parent.root_id, parent.id, node.index, parent.status, document, new_fingerprint);
    perform horsies.announce_wake();
    return 'attached';
end
$function$;
