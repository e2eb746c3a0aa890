-- Purpose: Send the tasks of nodes that are READY. If their run is paused, they stay READY. A workflow node sends
-- the task that builds its run. A map node sends the task that expands it, and later the task that collects its
-- results. Both tasks may be retried after any failure; the second one has no deadline, because the deadline applies
-- to the items. Returns how many tasks were sent.
-- Planner settings: see docs/architecture.md.
-- Locks: none. The caller holds the root runs, under which alone nodes change.
-- Called by: workflow_advance, workflow_insert, workflow_resume, workflow_send_items.
-- Granted to: nobody.
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
        returning n.*, n.kind = 'map' as is_map, w.root_id, w.trace_context
    )
    insert into horsies.tasks
        (id, task_name, queue, priority, args, run_at, good_until, retry_policy, timeout_ms, sent_at, fingerprint,
         workflow_id, node_index, root_id, task_key, turn_key, trace_context, secret_args)
    select r.task_id, case when r.is_map then 'horsies.map' else r.task_name end, r.queue, r.priority,
           case when r.is_map then '{}' else r.args end, clock, case when r.items is null then r.good_until end,
           case when r.is_map then map_retries else r.retry_policy end,
           case when r.is_map then null else r.timeout_ms end, clock, '', r.workflow_id, r.index, r.root_id,
           case when not r.is_map then r.task_key end,
           horsies.turn_key_in(r.queue, case when not r.is_map then r.task_key end),
           case when r.trace_context is not null then
               horsies.node_trace(r.trace_context, r.workflow_id, r.waits_for) end,
           case when not r.is_map then r.secret_args end
    from ready r;
    get diagnostics sent = row_count;
    return sent;
end
$function$;
