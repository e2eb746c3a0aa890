-- Purpose: end a task that has not ended. Returns 'cancelled' (this call ended it), 'ended' (it had ended before) or
-- 'unknown'. A running task ends here and now, with its fence in history: its worker is told to kill it, and
-- whatever outcome still comes of it is stale.
-- A task only ever moves from `tasks` to history, so one that is looked for there first and here in a second
-- statement, and is found in neither, does not exist.
-- The clock is read behind the lock: who waited for it must not end the task before it began.
-- Locks: the task's row. Called by: producers.
create function horsies.cancel(unwanted uuid) returns text
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $function$
declare
    clock timestamptz;
    cancellation constant json := json_build_object('error_code', 'TASK_CANCELLED',
        'message', 'the task was cancelled', 'data', null, 'exception', null);
begin
    perform horsies.durable();
    perform horsies.need_read_committed();
    perform from horsies.tasks t where t.id = unwanted for update;
    clock := horsies.now();
    with ended as (
        delete from horsies.tasks t where t.id = unwanted returning t.*
    )
    insert into horsies.history
        (id, task_name, queue, priority, args, status, result, error_code, run_at, good_until, attempt,
         retry_policy, timeout_ms, worker_id, exchange_no, worker_hostname, worker_pid, worker_process_name,
         sent_at, claimed_at, started_at, finished_at, fingerprint, idempotency_key, progress, workflow_id,
         node_index, root_id, rerun_of)
    select e.id, e.task_name, e.queue, e.priority, e.args, 'CANCELLED', cancellation, 'TASK_CANCELLED', e.run_at,
           e.good_until, e.attempt, e.retry_policy, e.timeout_ms, e.worker_id, e.exchange_no, w.hostname, w.pid,
           w.process_name, e.sent_at, e.claimed_at, e.started_at, clock, e.fingerprint, e.idempotency_key,
           e.progress, e.workflow_id, e.node_index, e.root_id, e.rerun_of
    from ended e left join horsies.workers w on w.id = e.worker_id;
    return case
        when found then 'cancelled'
        when exists (select from horsies.find_ended(unwanted)) then 'ended'
        else 'unknown'
    end;
end
$function$;
