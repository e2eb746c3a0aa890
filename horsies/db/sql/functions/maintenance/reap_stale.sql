-- Purpose: declare workers dead that have not sent a heartbeat for so many seconds, whatever they allow themselves, and
-- reap their work; and what dead workers left. Returns how many tasks ended or are retried with WORKER_CRASHED.
-- A worker that lives after all loses its claims: it learns so at its next heartbeat and kills its children.
-- Locks: as `reap`, one worker after the other. Called by: the broker object.
create function horsies.reap_stale(stale_after_seconds double precision, most int) returns int
language plpgsql as $function$
declare
    latest constant timestamptz := horsies.now() - make_interval(secs => stale_after_seconds);
    silent uuid;
    crashed int := (select r.crashed from horsies.reap(null, most) r);
begin
    for silent in select w.id from horsies.workers w where w.heartbeat_at <= latest order by w.id loop
        crashed := crashed + (select r.crashed from horsies.reap(silent, most) r);
    end loop;
    return crashed;
end
$function$;
