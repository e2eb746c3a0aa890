-- Purpose: Resume paused runs and the runs below them: release held tasks, enqueue the nodes that have become READY
-- in the meantime, and settle runs without open nodes. Returns whether a run was changed.
-- Locks: task rows in the order of their ids. The caller holds the root runs.
-- Called by: workflow_control.
-- Granted to: nobody.
create function horsies.workflow_resume(tops uuid[]) returns boolean
language plpgsql as $function$
declare
    resumed uuid[]; held_tasks uuid[]; runs uuid[]; indexes int[];
begin
    with resuming as (
        update horsies.workflows w set status = 'RUNNING'
        where w.id = any (horsies.run_tree(tops)) and w.status = 'PAUSED' returning w.id
    )
    select array_agg(resuming.id) into resumed from resuming;
    held_tasks := array(select t.id from horsies.tasks t where t.workflow_id = any (resumed) order by t.id for update);
    update horsies.tasks t set held = false where t.id = any (held_tasks);
    select array_agg(n.workflow_id), array_agg(n.index) into runs, indexes
    from horsies.workflow_nodes n where n.workflow_id = any (resumed) and n.status = 'READY';
    perform horsies.workflow_enqueue(runs, indexes);
    select array_agg(parent.run), array_agg(parent.index) into runs, indexes
    from horsies.workflow_settle(resumed) as parent;
    perform horsies.workflow_advance(runs, indexes);
    perform horsies.announce_wake();
    return resumed is not null;
end
$function$;
