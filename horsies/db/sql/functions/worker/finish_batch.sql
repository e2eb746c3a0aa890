-- Purpose: one transaction step of `finish`: for each outcome whose fence still holds, retry the task or end it.
-- Returns the ids that were accepted. A successful task with no retry costs one delete and one insert.
-- Locks: root runs, then task rows, both in the order of their ids; here and not in `finish`: a row that is locked
-- outside of a subtransaction and deleted inside costs a multixact, and those cost more than the rest.
-- Called by: finish.
create function horsies.finish_batch(
    finishing_worker uuid, ids uuid[], exchanges bigint[], oks boolean[], results text[], codes text[],
    retry_afters double precision[], hostname text, pids int[], process_names text[]
) returns uuid[]
language plpgsql as $function$
declare
    clock constant timestamptz := horsies.now();
    most_hand_backs constant int := 5;      -- as in `reap`, which counts them: such a task kills its workers
    accepted uuid[];
    nodes uuid[];
begin
    perform horsies.lock_roots(ids);
    perform from horsies.tasks t where t.id = any (ids) order by t.id for update;
    with outcome as materialized (
        select t.id, given.ok, given.result::json as result, given.code, given.pid, given.process_name,
               case when not given.ok and t.retry_policy is not null and t.hand_backs < most_hand_backs then
                   horsies.retry_at(t.retry_policy, t.attempt, given.code, given.retry_after, t.good_until, clock)
               end as again_at
        from unnest(ids, exchanges, oks, results, codes, retry_afters, pids, process_names)
            as given (id, exchange_no, ok, result, code, retry_after, pid, process_name)
        join horsies.tasks t on t.id = given.id
        where t.worker_id = finishing_worker and t.exchange_no = given.exchange_no and t.status = 'RUNNING'
    ),
    recorded as (
        insert into horsies.attempts
            (task_id, attempt, outcome, error, error_code, worker_id, exchange_no, worker_hostname, worker_pid,
             worker_process_name, started_at, finished_at)
        select t.id, t.attempt, case when o.code = 'WORKER_CRASHED' then 'WORKER_FAILURE' else 'FAILED' end,
               o.result, o.code, t.worker_id, t.exchange_no, hostname, o.pid, o.process_name, t.started_at, clock
        from outcome o join horsies.tasks t on t.id = o.id
        where o.again_at is not null
    ),
    retried as (
        update horsies.tasks t
        set status = 'PENDING', run_at = o.again_at, worker_id = null, exchange_no = null, lease_until = null,
            claimed_at = null, started_at = null
        from outcome o
        where t.id = o.id and o.again_at is not null
        returning t.id
    ),
    ended as (
        delete from horsies.tasks t using outcome o
        where t.id = o.id and o.again_at is null
        returning t.*, o.ok, o.result, o.code, o.pid, o.process_name
    ),
    kept as (
        insert into horsies.history
            (id, task_name, queue, priority, args, status, result, error_code, run_at, good_until, attempt,
             retry_policy, timeout_ms, worker_id, exchange_no, worker_hostname, worker_pid, worker_process_name,
             sent_at, claimed_at, started_at, finished_at, fingerprint, idempotency_key, progress, workflow_id,
             node_index, root_id, item, rerun_of)
        select e.id, e.task_name, e.queue, e.priority, e.args, case when e.ok then 'COMPLETED' else 'FAILED' end,
               e.result, case when not e.ok then e.code end, e.run_at, e.good_until, e.attempt,
               e.retry_policy, e.timeout_ms, e.worker_id, e.exchange_no, hostname, e.pid, e.process_name,
               e.sent_at, e.claimed_at, e.started_at, clock, e.fingerprint, e.idempotency_key, e.progress,
               e.workflow_id, e.node_index, e.root_id, e.item, e.rerun_of
        from ended e
        returning id, workflow_id
    )
    select array_agg(done.id), array_agg(done.id) filter (where done.workflow_id is not null) into accepted, nodes
    from (select id, null::uuid as workflow_id from retried union all select id, workflow_id from kept) as done;
    if nodes is not null then
        perform horsies.workflow_note(nodes, clock);
    end if;
    return accepted;
end
$function$;
