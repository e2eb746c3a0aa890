-- Purpose: Send many ended tasks again, each as a new task that records its origin. A task is sent only if it has
-- exactly as many reruns as the caller expects (`known`). If two operators repair the same failures at the same
-- time, each task is therefore sent once. Returns for each origin 'sent', 'changed' (its number of reruns differs),
-- 'live' (it has not ended) or 'unknown'. A call may be replayed with the same `new_ids`: tasks that were sent are
-- reported as 'sent' again, and no second task is created. The action of `who` is recorded, with `details`. The new
-- tasks get the trace context `trace` of the caller, or none.
--
-- All callers take turns under a lock of the table `reruns`. The reruns are counted in a statement after the lock,
-- whose snapshot includes everything that earlier callers committed.
--
-- Planner settings: see docs/architecture.md.
-- Locks: the table reruns, against writers; then the new tasks' rows.
-- Called by: bulk_step; queries/monitoring.py.
-- Granted to: operator.
create function horsies.rerun_many(
    origins uuid[], known int[], new_ids uuid[], who text default null, details json default null,
    trace json default null
) returns table (origin uuid, verdict text)
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $function$
#variable_conflict use_column
declare
    clock constant timestamptz := horsies.now();
    sent_now text[];
begin
    perform horsies.durable();
    perform horsies.need_read_committed();
    lock table horsies.reruns in share row exclusive mode;
    with sent as (
        insert into horsies.tasks
            (id, task_name, queue, priority, args, run_at, retry_policy, timeout_ms, sent_at, fingerprint, rerun_of,
             task_key, turn_key, trace_context, secret_args)
        select given.new_id, h.task_name, h.queue, h.priority, h.args, clock, h.retry_policy, h.timeout_ms, clock,
               h.fingerprint, given.origin, h.task_key, horsies.turn_key_in(h.queue, h.task_key), trace::jsonb,
               h.secret_args
        from unnest(origins, known, new_ids) as given (origin, known, new_id)
        cross join lateral horsies.find_ended(given.origin) h
        where given.known = (select count(*) from horsies.reruns r where r.origin = given.origin)
          and not exists (select from horsies.reruns r
                          where r.origin = any (array[given.origin]) and r.task_id = given.new_id)
        returning id, rerun_of
    ),
    noted as (
        insert into horsies.reruns as r (origin, task_id, sent_at) select s.rerun_of, s.id, clock from sent s
        returning r.origin
    )
    select array_agg(n.origin::text) into sent_now from noted n;
    perform horsies.record_action(who, 'task.rerun', sent_now, details);
    return query
    select given.origin, case
        when exists (select from horsies.reruns r
                          where r.origin = any (array[given.origin]) and r.task_id = given.new_id)
            then 'sent'
        when exists (select from horsies.tasks t where t.id = any (array[given.origin])) then 'live'
        when exists (select from horsies.find_ended(given.origin)) then 'changed'
        else 'unknown'
    end
    from unnest(origins, new_ids) as given (origin, new_id);
end
$function$;
