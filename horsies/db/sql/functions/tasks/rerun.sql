-- Purpose: Send an ended task again, as a new task that records its origin. Returns 'sent', 'live' (the origin has not
-- ended) or 'unknown'. The new task gets the trace context `trace` of the caller, or none. The deadline, the
-- idempotency key and the workflow node of the origin are not copied. A call may be replayed with the same `new_id`.
-- If `who` is given, a person or program operates the queue, and the action is recorded.
--
-- As in `enqueue`, the new task is inserted first and looked for in history in a second statement with its own
-- snapshot, because it may have run and ended since the first call.
--
-- Planner settings: see docs/architecture.md.
-- Locks: the new task's row; then the table reruns, which waits for a bulk rerun.
-- Called by: queries/tasks.py.
-- Granted to: producer, worker, operator.
create function horsies.rerun(
    origin uuid, new_id uuid, who text default null, trace json default null
) returns text
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $function$
declare
    clock constant timestamptz := horsies.now();
begin
    perform horsies.durable();
    perform horsies.need_read_committed();
    if exists (select from horsies.tasks t where t.id = origin) then
        return 'live';
    end if;
    insert into horsies.tasks
        (id, task_name, queue, priority, args, run_at, retry_policy, timeout_ms, sent_at, fingerprint, rerun_of,
         task_key, turn_key, trace_context, secret_args)
    select new_id, h.task_name, h.queue, h.priority, h.args, clock, h.retry_policy, h.timeout_ms, clock,
           h.fingerprint, origin, h.task_key, horsies.turn_key_in(h.queue, h.task_key), trace::jsonb,
           h.secret_args
    from horsies.find_ended(origin) h
    on conflict (id) do nothing;
    if found then
        insert into horsies.reruns (origin, task_id, sent_at) values (rerun.origin, new_id, clock)
        on conflict do nothing;
        perform horsies.record_action(who, 'task.rerun', array[rerun.origin::text], null)
        where who is not null and not exists (select from horsies.find_ended(new_id));
    else
        return case when exists (select from horsies.find_ended(origin)) then 'sent' else 'unknown' end;
    end if;
    if exists (select from horsies.find_ended(new_id)) then
        delete from horsies.tasks t where t.id = new_id;
    end if;
    return 'sent';
end
$function$;
