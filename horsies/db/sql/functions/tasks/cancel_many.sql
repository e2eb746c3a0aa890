-- Purpose: Cancel many tasks in one transaction, as `cancel` does for one. Returns the ids that this call ended; the
-- other tasks had already ended or do not exist. With `statuses`, it also leaves alone the tasks that have none of
-- these statuses when their rows are locked. The action of `who` is recorded, with `details`.
-- Planner settings: see docs/architecture.md.
-- Locks: root runs, then task rows, both in the order of their ids.
-- Called by: bulk_step; queries/monitoring.py.
-- Granted to: operator.
create function horsies.cancel_many(
    unwanted uuid[], who text default null, statuses text[] default null, details json default null
) returns setof uuid
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off
set lock_timeout = '5s'
as $function$
declare
    cancellation constant json := horsies.task_error('TASK_CANCELLED', 'the task was cancelled');
    ended uuid[];
begin
    perform horsies.durable();
    perform horsies.need_read_committed();
    perform horsies.lock_roots(unwanted);
    perform from horsies.tasks t where t.id = any (unwanted) order by t.id for update;
    if statuses is not null then
        unwanted := array(select t.id from horsies.tasks t where t.id = any (unwanted) and t.status = any (statuses));
    end if;
    ended := horsies.end_tasks(unwanted, 'CANCELLED', cancellation, 'TASK_CANCELLED', horsies.now());
    perform horsies.record_action(who, 'task.cancel', ended::text[], details);
    return query select * from unnest(ended);
end
$function$;
