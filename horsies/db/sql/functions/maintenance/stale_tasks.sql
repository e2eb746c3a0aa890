-- Purpose: tasks in hand of workers that have not sent a heartbeat for so many seconds, or that have no row any more;
-- at most `most`, oldest claim first.
-- Locks: none. Called by: the broker object.
create function horsies.stale_tasks(stale_after_seconds double precision, most int) returns setof uuid
language plpgsql
set enable_seqscan = off set jit = off
as $function$
declare
    latest constant timestamptz := horsies.now() - make_interval(secs => stale_after_seconds);
begin
    return query
    select t.id from horsies.tasks t
    where t.status <> 'PENDING'
      and not exists (select from horsies.workers w where w.id = t.worker_id and w.heartbeat_at > latest)
    order by t.claimed_at, t.id limit most;
end
$function$;
