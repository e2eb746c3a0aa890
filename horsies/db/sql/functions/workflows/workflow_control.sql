-- Purpose: Pause, resume or cancel a run and all runs below it. Returns 'changed', 'unchanged' or 'unknown'. If `who`
-- is given, a person or program operates the queue, and the action is recorded.
-- Planner settings: see docs/architecture.md.
-- Locks: the root run, then task rows in the order of their ids.
-- Called by: queries/workflows.py.
-- Granted to: producer, worker, operator.
create function horsies.workflow_control(run uuid, action text, who text default null) returns text
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off
set lock_timeout = '5s'
as $function$
declare
    is_changed boolean;
begin
    perform horsies.durable();
    perform horsies.need_read_committed();
    perform from horsies.workflows w
    where w.id = (select r.root_id from horsies.workflows r where r.id = run) for update;
    if not found then
        return 'unknown';
    end if;
    is_changed := case action
        when 'pause' then horsies.workflow_pause(array[run])
        when 'resume' then horsies.workflow_resume(array[run])
        when 'cancel' then horsies.workflow_cancel(array[run])
    end;
    perform horsies.record_action(who, 'run.' || action, array[run::text], null)
    where is_changed and who is not null;
    return case when is_changed then 'changed' else 'unchanged' end;
end
$function$;
