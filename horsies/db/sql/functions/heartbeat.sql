-- Purpose: a worker says that it lives. False: it has been declared dead, its work was handed on; it must kill
-- its children and take a new id.
-- Locks: its own row. Called by: workers.
create function horsies.heartbeat(living_worker uuid) returns boolean
language plpgsql as $function$
begin
    update horsies.workers w set heartbeat_at = horsies.now() where w.id = living_worker;
    return found;
end
$function$;
