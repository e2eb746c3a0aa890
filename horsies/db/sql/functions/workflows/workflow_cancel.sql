-- Purpose: Cancel runs and all runs below them. Nodes whose task has started, and nodes that are runs, become
-- FAILED; the other open nodes become SKIPPED. A notice asks workers to stop the running tasks. If a child run is
-- cancelled on its own, its node in the parent run fails and the parent run continues. Returns whether a run was
-- changed.
-- Locks: task rows in the order of their ids. The caller holds the root runs.
-- Called by: workflow_control.
-- Granted to: nobody.
create function horsies.workflow_cancel(tops uuid[]) returns boolean
language plpgsql as $function$
declare
    ending constant uuid[] := horsies.run_tree(tops);
    end_of_run constant json := horsies.task_error('WORKFLOW_CANCELLED', 'the run was cancelled');
    end_of_task constant json := horsies.task_error('TASK_CANCELLED', 'the run of this task was cancelled');
    unwanted uuid[]; running uuid[]; runs uuid[]; indexes int[];
    clock timestamptz;
begin
    unwanted := array(select t.id from horsies.tasks t where t.workflow_id = any (ending) order by t.id for update);
    running := array(select t.id from horsies.tasks t where t.id = any (unwanted) and t.started_at is not null);
    clock := horsies.now();
    with open as (
        select n.workflow_id, n.index, t.started_at,
               n.child_id is not null or n.open_items is not null or coalesce(t.attempt, 0) > 0 as is_begun
        from horsies.workflow_nodes n left join horsies.tasks t on t.id = n.task_id
        where n.workflow_id = any (ending) and n.status in ('PENDING', 'READY', 'ENQUEUED')
    ),
    stopped as (
        update horsies.workflow_nodes n
        set status = case when o.is_begun then 'FAILED' else 'SKIPPED' end, finished_at = clock,
            result = case when o.is_begun then end_of_task else end_of_run end,
            error_code = case when o.is_begun then 'TASK_CANCELLED' else 'WORKFLOW_CANCELLED' end,
            started_at = coalesce(n.started_at, o.started_at)
        from open o where n.workflow_id = o.workflow_id and n.index = o.index returning n.workflow_id, n.status
    )
    update horsies.workflows w
    set status = 'CANCELLED', finished_at = clock, error = end_of_run, failed = w.failed + coalesce(c.failed, 0),
        skipped = w.skipped + coalesce(c.skipped, 0)
    from unnest(ending) as given (run) left join (
        select s.workflow_id, count(*) filter (where s.status = 'FAILED') as failed,
               count(*) filter (where s.status = 'SKIPPED') as skipped
        from stopped s group by s.workflow_id
    ) as c on c.workflow_id = given.run
    where w.id = given.run;
    perform horsies.end_tasks(unwanted, 'CANCELLED', end_of_task, 'TASK_CANCELLED', clock);
    perform horsies.announce_ids('cancel', running);
    perform horsies.announce_ids('done', unwanted || ending);
    select array_agg(parent.run), array_agg(parent.index) into runs, indexes
    from horsies.workflow_end_nodes(ending) as parent;
    perform horsies.workflow_advance(runs, indexes);
    perform horsies.announce_wake();
    return ending is not null;
end
$function$;
