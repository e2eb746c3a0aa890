-- Purpose: Record the progress of a running task; with null, only check that it may continue. Returns false if this
-- attempt must stop, because the task was cancelled or its claim was lost. The number of an
-- attempt that has started is never used again, so it identifies the claim as well as the fence does.
--
-- A task is running if `started_at` is set. A condition on `status` would let the planner use the index
-- `tasks_in_flight` and read all claimed tasks.
--
-- Planner settings: see docs/architecture.md.
-- Locks: the task's row.
-- Called by: queries/tasks.py.
-- Granted to: worker.
create function horsies.progress(running_task uuid, running_attempt int, report json) returns boolean
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $function$
begin
    if report is null then
        return exists (select from horsies.tasks t
                       where t.id = running_task and t.attempt = running_attempt and t.started_at is not null);
    end if;
    perform horsies.relaxed();
    update horsies.tasks t set progress = report
    where t.id = running_task and t.attempt = running_attempt and t.started_at is not null;
    return found;
end
$function$;
