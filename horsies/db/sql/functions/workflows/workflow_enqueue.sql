-- Sends the tasks of nodes that are ready, unless their run is paused: then they stay READY. A node that is a workflow
-- sends the task that builds its run; a map the one that expands it, and later the one that collects it: both may be
-- repeated, whatever happened, and the latter has no deadline, for that was for the items. Returns how many were sent.
-- Locks: none of its own; its caller holds the root runs.
-- Called by: workflow_insert, workflow_advance, workflow_resume, workflow_send_items.
create function horsies.workflow_enqueue(runs uuid[], indexes int[]) returns int
language plpgsql
set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $function$
declare
    clock constant timestamptz := horsies.now();
    map_retries constant json := json_build_object('max_retries', 20, 'strategy', 'exponential', 'jitter', true,
        'intervals', '{0.05}'::float8[], 'codes', '{WORKER_CRASHED,BROKER_ERROR}'::text[]);
    sent int;
begin
    with ready as (
        update horsies.workflow_nodes n
        set status = 'ENQUEUED',
            task_id = horsies.node_task_id(clock, n.index, n.workflow_id || coalesce(n.items::text, ''))
        from unnest(runs, indexes) as given (run, index) join horsies.workflows w on w.id = given.run
        where n.workflow_id = given.run and n.index = given.index and n.status = 'READY' and w.status = 'RUNNING'
        returning n.*, n.kind = 'map' as is_map, w.root_id
    )
    insert into horsies.tasks
        (id, task_name, queue, priority, args, run_at, good_until, retry_policy, timeout_ms, sent_at, fingerprint,
         workflow_id, node_index, root_id)
    select r.task_id, case when r.is_map then 'horsies.map' else r.task_name end, r.queue, r.priority,
           case when r.is_map then '{}' else r.args end, clock, case when r.items is null then r.good_until end,
           case when r.is_map then map_retries else r.retry_policy end,
           case when r.is_map then null else r.timeout_ms end, clock, '', r.workflow_id, r.index, r.root_id
    from ready r;
    get diagnostics sent = row_count;
    return sent;
end
$function$;
