-- Purpose: Cancel a task. Returns 'cancelled' (this call ended the task), 'ended' (the task had already ended) or
-- 'unknown'. A running task ends immediately and its fence is kept in history: a notice asks the worker to stop
-- its code, and any outcome that the worker still reports is stale. If the task belongs to a workflow node, the
-- node fails. If `who` is given, a person or program operates the queue, and the action is recorded.
--
-- A task only ever moves from `tasks` to history. If the first statement does not find it in `tasks` and a later
-- statement does not find it in history, the task does not exist. The clock is read after the row is locked, so that
-- a task never ends before it started.
--
-- Planner settings: see docs/architecture.md.
-- Locks: the task's root run, then the task's row.
-- Called by: queries/tasks.py.
-- Granted to: producer, worker, operator.
create function horsies.cancel(unwanted uuid, who text default null) returns text
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off
set lock_timeout = '5s'
as $function$
declare
    cancellation constant json := horsies.task_error('TASK_CANCELLED', 'the task was cancelled');
begin
    perform horsies.durable();
    perform horsies.need_read_committed();
    perform horsies.lock_roots(array[unwanted]);
    perform from horsies.tasks t where t.id = unwanted for update;
    if horsies.end_tasks(array[unwanted], 'CANCELLED', cancellation, 'TASK_CANCELLED', horsies.now()) is not null then
        perform horsies.record_action(who, 'task.cancel', array[unwanted::text], null) where who is not null;
        return 'cancelled';
    end if;
    return case when exists (select from horsies.find_ended(unwanted)) then 'ended' else 'unknown' end;
end
$function$;
