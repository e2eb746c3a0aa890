-- Purpose: Pause or resume a schedule. Times that fall due while it is paused are skipped. Returns whether this
-- changed anything; null if there is no such schedule. A change by `who` is recorded.
-- Locks: the schedule's row.
-- Called by: queries/schedules.py.
-- Granted to: operator.
create function horsies.schedule_pause(schedule_name text, pausing boolean, who text default null) returns boolean
security definer set search_path = pg_catalog, pg_temp
language plpgsql as $function$
declare
    was_paused boolean;
begin
    select s.paused into was_paused from horsies.schedules s where s.name = schedule_name for update;
    if was_paused <> pausing then
        update horsies.schedules s
        set paused = pausing, resumed_at = case when pausing then s.resumed_at else horsies.now() end
        where s.name = schedule_name;
        perform horsies.record_action(who, case when pausing then 'schedule.pause' else 'schedule.resume' end,
                                      array[schedule_name], null);
    end if;
    return was_paused <> pausing;
end
$function$;
