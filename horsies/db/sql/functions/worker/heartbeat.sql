-- Purpose: Record that a worker is alive, and by how many seconds its clock is ahead of the server's if it knows.
-- Returns false if the worker has been declared dead and its tasks were recovered: it must then kill its children
-- and register again with a new id. Workers of older releases call this without the second argument.
-- Locks: the worker's row.
-- Called by: queries/worker.py.
-- Granted to: worker.
create function horsies.heartbeat(living_worker uuid, seconds_ahead double precision default null) returns boolean
security definer set search_path = pg_catalog, pg_temp
language plpgsql as $function$
begin
    update horsies.workers w
    set heartbeat_at = horsies.server_time(), beats = w.beats + 1, clock_skew = coalesce(seconds_ahead, w.clock_skew)
    where w.id = living_worker;
    return found;
end
$function$;
