-- Purpose: end a task that has not ended. Returns 'cancelled' (this call ended it), 'ended' (it had ended before) or
-- 'unknown'. A running task ends here and now, with its fence in history: its worker is told to kill it, and
-- whatever outcome still comes of it is stale. A node of a run whose task is cancelled has failed.
-- A task only ever moves from `tasks` to history, so one that is looked for there first and here in a second
-- statement, and is found in neither, does not exist.
-- The clock is read behind the lock: who waited for it must not end the task before it began.
-- Locks: the task's root run, the task's row. Called by: producers.
create function horsies.cancel(unwanted uuid) returns text
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $function$
declare
    cancellation constant json := horsies.task_error('TASK_CANCELLED', 'the task was cancelled');
begin
    perform horsies.durable();
    perform horsies.need_read_committed();
    perform horsies.lock_roots(array[unwanted]);
    perform from horsies.tasks t where t.id = unwanted for update;
    return case
        when horsies.end_tasks(array[unwanted], 'CANCELLED', cancellation, 'TASK_CANCELLED', horsies.now()) is not null
            then 'cancelled'
        when exists (select from horsies.find_ended(unwanted)) then 'ended'
        else 'unknown'
    end;
end
$function$;
