-- Purpose: End a task as COMPLETED inside the task's own transaction, just before the child commits it. The user's
-- writes and the outcome are then committed together, or neither is.
--
-- This function raises instead of returning a verdict: if it returned 'stale', the child could still commit the user's
-- writes. It raises P0H02 if the transaction is not the one that the child began for this attempt: the user's SQL has
-- committed it or rolled it back, and the local setting `horsies.fence` ended with it. It raises P0H03 if the claim is
-- lost, or if the outcome was not stored. There is no rescue of refused rows, which would leave the user's writes
-- behind without an outcome.
--
-- Unlike `finish`, it waits for the task's row and for its root run, for at most `lock_timeout`. A short lock of
-- somebody else (a report of progress, a `cancel` that finds the task running) must not fail the task. The delete of
-- `move_to_history` is what waits for the row, and it checks the fence again when it has the lock. A separate lock
-- before it, as `finish_batch` takes it, would cost a third of this call.
--
-- `trace` is the `traceparent` of the span of the attempt, or empty.
--
-- Planner settings: see docs/architecture.md.
-- Locks: the root run; then the task's row. They are held until the child commits, which follows at once.
-- Called by: queries/worker.py.
-- Granted to: worker.
create function horsies.finish_own(
    finishing_worker uuid, own_task uuid, own_exchange bigint, result text, hostname text, pid int, process_name text,
    trace text default ''
) returns void
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off set plan_cache_mode = force_generic_plan
set lock_timeout = '30s'
as $function$
begin
    if current_setting('horsies.fence', true)
       is distinct from concat_ws('/', finishing_worker, own_task, own_exchange) then
        raise exception 'the transaction of task % was committed or rolled back before the task ended', own_task
            using errcode = 'P0H02';
    end if;
    perform horsies.durable();
    perform horsies.need_read_committed();
    if exists (select from horsies.tasks t where t.id = own_task and t.root_id is not null) then
        perform horsies.lock_roots(array[own_task]);
    end if;
    if horsies.move_to_history(array[own_task], array[true], 'FAILED', array[result], array[null::text],
                               array[hostname], array[pid], array[process_name], horsies.now(), finishing_worker,
                               array[own_exchange], array[nullif(trace, '')])
       is distinct from array[own_task] then
        raise exception 'this attempt at task % does not hold the task any more', own_task using errcode = 'P0H03';
    end if;
end
$function$;
