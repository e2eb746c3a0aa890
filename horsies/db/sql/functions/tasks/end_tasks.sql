-- Purpose: end tasks otherwise than by an outcome: move their rows to history, and the runs whose nodes they are on.
-- Locks: none of its own; its caller holds the root runs and the task rows.
-- Called by: cancel, cancel_many, expire, workflow_cancel.
create function horsies.end_tasks(ids uuid[], end_status text, error json, code text, clock timestamptz)
returns uuid[]
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $function$
declare
    ended_ids uuid[];
    nodes uuid[];
begin
    with ended as (
        delete from horsies.tasks t where t.id = any (ids) returning t.*
    ),
    kept as (
        insert into horsies.history
            (id, task_name, queue, priority, args, status, result, error_code, run_at, good_until, attempt,
             retry_policy, timeout_ms, worker_id, exchange_no, worker_hostname, worker_pid, worker_process_name,
             sent_at, claimed_at, started_at, finished_at, fingerprint, idempotency_key, progress, workflow_id,
             node_index, root_id, item, rerun_of)
        select e.id, e.task_name, e.queue, e.priority, e.args, end_status, error, code, e.run_at,
               e.good_until, e.attempt, e.retry_policy, e.timeout_ms, e.worker_id, e.exchange_no, w.hostname, w.pid,
               w.process_name, e.sent_at, e.claimed_at, e.started_at, clock, e.fingerprint, e.idempotency_key,
               e.progress, e.workflow_id, e.node_index, e.root_id, e.item, e.rerun_of
        from ended e left join horsies.workers w on w.id = e.worker_id
        returning id, workflow_id
    )
    select array_agg(kept.id), array_agg(kept.id) filter (where kept.workflow_id is not null) into ended_ids, nodes
    from kept;
    if nodes is not null then
        perform horsies.workflow_note(nodes, clock);
    end if;
    return ended_ids;
end
$function$;
