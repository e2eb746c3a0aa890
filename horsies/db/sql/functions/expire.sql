-- Purpose: end tasks that were not started by their `good_until`. Returns how many; at most `most` a call.
-- Locks: task rows in the order of their ids, SKIP LOCKED. Called by: duties of any worker.
create function horsies.expire(most int) returns int
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $function$
declare
    clock constant timestamptz := horsies.now();
    ended_ids uuid[];
    expiry constant json := json_build_object('error_code', 'TASK_EXPIRED',
        'message', 'the task was not started by its good_until', 'data', null, 'exception', null);
begin
    perform horsies.need_read_committed();
    with overdue as materialized (
        select t.id from horsies.tasks t
        where t.good_until <= clock and t.status in ('PENDING', 'CLAIMED')
        order by t.id limit most
        for update skip locked
    ),
    ended as (
        delete from horsies.tasks t using overdue where t.id = overdue.id returning t.*
    ),
    kept as (
        insert into horsies.history
            (id, task_name, queue, priority, args, status, result, error_code, run_at, good_until, attempt,
             retry_policy, timeout_ms, worker_id, exchange_no, sent_at, claimed_at, finished_at, fingerprint,
             idempotency_key, progress, workflow_id, node_index, root_id, rerun_of)
        select e.id, e.task_name, e.queue, e.priority, e.args, 'EXPIRED', expiry, 'TASK_EXPIRED', e.run_at,
               e.good_until, e.attempt, e.retry_policy, e.timeout_ms, e.worker_id, e.exchange_no, e.sent_at,
               e.claimed_at, clock, e.fingerprint, e.idempotency_key, e.progress, e.workflow_id, e.node_index,
               e.root_id, e.rerun_of
        from ended e
        returning id
    )
    select array_agg(kept.id) into ended_ids from kept;
    perform horsies.notify_done(ended_ids);
    return coalesce(cardinality(ended_ids), 0);
end
$function$;
