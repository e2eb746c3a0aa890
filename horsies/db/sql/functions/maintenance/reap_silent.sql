-- Purpose: Declare a worker dead that the caller has seen silent for too long, unless it has sent a heartbeat since,
-- and recover its tasks; see `reap`.
-- Locks: the worker's row, SKIP LOCKED, because a heartbeat may hold it; then those of `reap`.
-- Called by: queries/worker.py.
-- Granted to: worker.
create function horsies.reap_silent(silent uuid, seen_beats bigint, most int)
returns table (workers int, returned int, crashed int)
security definer set search_path = pg_catalog, pg_temp
language plpgsql as $function$
begin
    perform from horsies.workers w where w.id = silent and w.beats = seen_beats for update skip locked;
    if found then
        return query select r.workers, r.returned, r.crashed from horsies.reap(silent, most) r;
    end if;
end
$function$;
