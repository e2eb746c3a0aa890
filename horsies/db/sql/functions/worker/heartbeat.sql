-- Purpose: a worker says that it lives, and by how many seconds its clock is ahead of the server's, if it knows. False:
-- it has been declared dead, its work was handed on; it must kill its children and take a new id.
-- Locks: its own row. Called by: workers, those of older releases without a second argument.
create function horsies.heartbeat(living_worker uuid, seconds_ahead double precision default null) returns boolean
language plpgsql as $function$
begin
    update horsies.workers w
    set heartbeat_at = horsies.now(), clock_skew = coalesce(seconds_ahead, w.clock_skew)
    where w.id = living_worker;
    return found;
end
$function$;
