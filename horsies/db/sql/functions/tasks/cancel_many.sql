-- Purpose: end tasks that have not ended, many in one transaction. Returns those that this call ended; the others had
-- ended before, or do not exist. All else is as in `cancel`.
-- Locks: root runs, then task rows, both in the order of their ids. Called by: the broker object.
create function horsies.cancel_many(unwanted uuid[]) returns setof uuid
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $function$
declare
    cancellation constant json := horsies.task_error('TASK_CANCELLED', 'the task was cancelled');
begin
    perform horsies.durable();
    perform horsies.need_read_committed();
    perform horsies.lock_roots(unwanted);
    perform from horsies.tasks t where t.id = any (unwanted) order by t.id for update;
    return query
    select * from unnest(horsies.end_tasks(unwanted, 'CANCELLED', cancellation, 'TASK_CANCELLED', horsies.now()));
end
$function$;
