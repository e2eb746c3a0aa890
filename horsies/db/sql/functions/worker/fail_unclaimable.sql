-- Purpose: End a waiting task as FAILED with WORKER_SERIALIZATION_ERROR, because the server fails to claim its row for
-- this reason: a role that may write the table has stored a value that is out of range, for example, or the inputs of
-- a workflow node cannot be read. If the row or its root run is locked, or if the row cannot be moved to history
-- either, it stays, and the next claim of this kind tries again. Returns whether the task ended.
-- Locks: the task's root run, NOWAIT, because the caller holds task rows; then the task's row, SKIP LOCKED.
-- Called by: take_singly.
-- Granted to: nobody.
create function horsies.fail_unclaimable(candidate uuid, reason text) returns boolean
language plpgsql as $function$
begin
    perform from horsies.workflows w
    where w.id = (select t.root_id from horsies.tasks t where t.id = candidate) for update nowait;
    perform from horsies.tasks t where t.id = candidate and t.worker_id is null for update skip locked;
    return found and horsies.end_tasks(
        array[candidate], 'FAILED',
        horsies.task_error('WORKER_SERIALIZATION_ERROR', 'the database could not claim this task: ' || reason),
        'WORKER_SERIALIZATION_ERROR', horsies.now()) is not null;
exception when data_exception or integrity_constraint_violation or lock_not_available then
    return false;
end
$function$;
