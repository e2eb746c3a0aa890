-- Purpose: pause a schedule, or resume it; what is due while it is paused is let pass. False: it is not known.
-- Locks: the schedule's row. Called by: whoever watches.
create function horsies.schedule_pause(schedule_name text, pausing boolean) returns boolean
language plpgsql as $function$
begin
    update horsies.schedules s
    set paused = pausing,
        resumed_at = case when s.paused and not pausing then horsies.now() else s.resumed_at end
    where s.name = schedule_name;
    return found;
end
$function$;
