-- Purpose: List all workers with the number of their heartbeats, and with the seconds of silence after which each is
-- dead. A process that calls this repeatedly sees by its own clock for how long a worker has been silent.
-- Locks: none.
-- Called by: queries/worker.py.
-- Granted to: worker.
create function horsies.worker_beats() returns table (id uuid, beats bigint, stale_after_seconds double precision)
security definer set search_path = pg_catalog, pg_temp
language sql stable as $function$
    select w.id, w.beats, extract(epoch from w.stale_after)::double precision from horsies.workers w
$function$;
