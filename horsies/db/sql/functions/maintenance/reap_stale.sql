-- Purpose: Declare workers dead that have sent no heartbeat for this many seconds, whatever their own `stale_after`,
-- and recover their tasks and those of workers that died earlier. Returns how many tasks ended or are retried with
-- WORKER_CRASHED. A worker that is alive after all loses its claims: it learns this at its next heartbeat and kills
-- its children. This is for operators: it trusts the clock of the server, unlike `reap_silent`. The action of `who` is
-- recorded with the ids of the workers.
-- Locks: those of `reap`, for one worker after the other.
-- Called by: queries/monitoring.py.
-- Granted to: operator.
create function horsies.reap_stale(stale_after_seconds double precision, most int, who text default null) returns int
security definer set search_path = pg_catalog, pg_temp
language plpgsql as $function$
declare
    latest constant timestamptz := horsies.server_time() - make_interval(secs => stale_after_seconds);
    silent uuid;
    found record;
    crashed int := (select r.crashed from horsies.reap(null, most) r);
begin
    for silent in select w.id from horsies.workers w where w.heartbeat_at <= latest order by w.id loop
        select r.workers, r.crashed into found from horsies.reap(silent, most) r;
        crashed := crashed + found.crashed;
        perform horsies.record_action(who, 'worker.declare_dead', array[silent::text], null) where found.workers > 0;
    end loop;
    return crashed;
end
$function$;
