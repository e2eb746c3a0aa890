-- Purpose: Pause runs and the runs below them. Running tasks finish. All other tasks of the runs are held, including
-- those that return to the queue later (a retry, a released claim), because `held` is set on every task. Prefetched
-- tasks are returned to the queue. Returns whether a run was changed.
-- Locks: task rows in the order of their ids. The caller holds the root runs.
-- Called by: workflow_advance, workflow_control.
-- Granted to: nobody.
create function horsies.workflow_pause(tops uuid[]) returns boolean
language plpgsql as $function$
declare
    paused uuid[]; held_tasks uuid[];
begin
    with stopped as (
        update horsies.workflows w set status = 'PAUSED'
        where w.id = any (horsies.run_tree(tops)) and w.status = 'RUNNING' returning w.id
    )
    select array_agg(stopped.id) into paused from stopped;
    held_tasks := array(select t.id from horsies.tasks t where t.workflow_id = any (paused) order by t.id for update);
    update horsies.tasks t set held = true, turn_key = null where t.id = any (held_tasks);
    perform horsies.return_to_queue(
        array(select t.id from horsies.tasks t where t.id = any (held_tasks) and t.status = 'CLAIMED'), false);
    perform horsies.announce_ids('done', paused);
    return paused is not null;
end
$function$;
