-- Purpose: Start a previewed action on many tasks (`change` 'start'), stop it ('stop'), or resume it ('resume'), also
-- after the process that worked on it has ended without stopping it: no batch was processed for 10 seconds then.
-- `reason` says why a process stops it; null: a person does. A change that does not apply to the state changes
-- nothing, so that two people may confirm the same preview. If the state changes, the action of `who` is recorded.
-- Returns the state afterwards, or null if there is no action of this kind with the id.
-- Locks: the row of the action.
-- Called by: queries/bulk.py.
-- Granted to: operator.
create function horsies.bulk_control(wanted uuid, kind text, change text, who text, reason text default null)
returns text
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set lock_timeout = '10s'
as $function$
declare
    clock constant timestamptz := horsies.now();
    actor constant text := left(coalesce(nullif(who, ''), session_user), 200);
    before record;
begin
    perform horsies.need_read_committed();
    select b.state, b.filter, b.total, b.worked_at into before
    from horsies.bulk_actions b where b.id = wanted and b.action = kind for update;
    if not found then
        return null;
    end if;
    if change = 'start' and before.state = 'PREVIEW'
       or change = 'resume' and (before.state = 'STOPPED' or before.state = 'RUNNING'
                                 and before.worked_at < horsies.server_time() - interval '10 s') then
        update horsies.bulk_actions b
        set state = 'RUNNING', acted_by = actor, started_at = coalesce(b.started_at, clock),
            worked_at = horsies.server_time(), failure = null
        where b.id = wanted;
    elsif change = 'stop' and before.state = 'RUNNING' then
        update horsies.bulk_actions b set state = 'STOPPED', failure = reason where b.id = wanted;
    else
        return before.state;
    end if;
    perform horsies.record_action(who, 'bulk.' || change, array[wanted::text], json_build_object(
        'action', kind, 'filter', before.filter, 'tasks', before.total));
    return (select b.state from horsies.bulk_actions b where b.id = wanted);
end
$function$;
