-- Purpose: Move tasks from `tasks` to history, and advance the runs whose nodes they belong to. This is the only
-- function that writes history. The arrays have one element per task. Successful tasks become COMPLETED, the others
-- get `failed_status`. For results with secrets, see `public_part`. With a `fence_worker`, only tasks are moved that
-- this worker still runs under the exchange number in `fence_exchanges`. Returns the ids that were moved, null if
-- there were none.
--
-- A retried task has no fence any more, so `finish_batch` passes its whole batch after it has put the retries back
-- into the queue.
--
-- Locks: none beyond those that the caller holds: the root runs and the task rows. For `finish_own`, which holds only
-- the root run, the delete waits for the task row and checks the fence again.
-- Called by: end_tasks, finish_batch, finish_own.
-- Granted to: nobody.
create function horsies.move_to_history(
    ids uuid[], oks boolean[], failed_status text, results text[], codes text[], hostnames text[], pids int[],
    process_names text[], clock timestamptz, fence_worker uuid, fence_exchanges bigint[],
    traces text[] default null
) returns uuid[]
language plpgsql as $function$
declare
    ended_ids uuid[];
    nodes uuid[];
    runs uuid[];
    indexes int[];
    items int[];
    names text[];
    statuses text[];
    node_results json[];
    node_secrets json[];
    node_codes text[];
    starts timestamptz[];
begin
    with ended as (
        delete from horsies.tasks t
        using unnest(ids, oks, results, codes, hostnames, pids, process_names, fence_exchanges, traces)
            as given (id, ok, result, code, hostname, pid, process_name, exchange_no, trace)
        where t.id = any (array[given.id])
          and (fence_worker is null
               or t.worker_id = fence_worker and t.exchange_no = given.exchange_no and t.status = 'RUNNING')
        returning t.*, given.ok, given.result, given.code, given.hostname, given.pid, given.process_name, given.trace
    ),
    kept as (
        insert into horsies.history as h
            (id, task_name, queue, priority, args, status, result, error_code, run_at, good_until, attempt,
             retry_policy, timeout_ms, worker_id, exchange_no, worker_hostname, worker_pid, worker_process_name,
             sent_at, claimed_at, started_at, finished_at, fingerprint, idempotency_key, progress, workflow_id,
             node_index, root_id, item, rerun_of, task_key, postponed,
             trace_context, secret_args, secret_result)
        select e.id, e.task_name, e.queue, e.priority, e.args, case when e.ok then 'COMPLETED' else failed_status end,
               horsies.public_part(e.result), case when not e.ok then e.code end, e.run_at, e.good_until, e.attempt,
               e.retry_policy, e.timeout_ms, e.worker_id, e.exchange_no, e.hostname, e.pid, e.process_name, e.sent_at,
               e.claimed_at, e.started_at, clock, e.fingerprint, e.idempotency_key, e.progress, e.workflow_id,
               e.node_index,
               e.root_id, e.item, e.rerun_of, e.task_key, e.postponed,
               case when e.trace is null then e.trace_context
                    else horsies.trace_with_attempt(e.trace_context, e.trace) end,
               e.secret_args, horsies.secret_part(e.result)
        from ended e
        returning h.id, h.workflow_id, h.node_index, h.item, h.task_name, h.status, h.result, h.secret_result,
                  h.error_code, h.started_at
    )
    select array_agg(k.id), array_agg(k.id) filter (where k.workflow_id is not null),
           array_agg(k.workflow_id) filter (where k.workflow_id is not null),
           array_agg(k.node_index) filter (where k.workflow_id is not null),
           array_agg(k.item) filter (where k.workflow_id is not null),
           array_agg(k.task_name) filter (where k.workflow_id is not null),
           array_agg(k.status) filter (where k.workflow_id is not null),
           array_agg(k.result) filter (where k.workflow_id is not null),
           array_agg(k.secret_result) filter (where k.workflow_id is not null),
           array_agg(k.error_code) filter (where k.workflow_id is not null),
           array_agg(k.started_at) filter (where k.workflow_id is not null)
    into ended_ids, nodes, runs, indexes, items, names, statuses, node_results, node_secrets, node_codes, starts
    from kept k;
    if nodes is not null and traces is not null then
        perform horsies.trace_nodes(nodes, runs, indexes, items, array(
            select given.trace from unnest(nodes) with ordinality as node (id, place)
            left join unnest(ids, traces) as given (id, trace) on given.id = node.id order by node.place));
    end if;
    if nodes is not null then
        perform horsies.workflow_note(
            nodes, runs, indexes, items, names, statuses, node_results, node_secrets, node_codes, starts, clock);
    end if;
    return ended_ids;
end
$function$;
