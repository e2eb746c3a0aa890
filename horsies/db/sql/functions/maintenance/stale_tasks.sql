-- Purpose: List claimed tasks whose worker has sent no heartbeat for this many seconds or no longer has a row. At
-- most `most`, the oldest claim first.
-- Planner settings: see docs/architecture.md.
-- Locks: none.
-- Called by: queries/monitoring.py.
-- Granted to: viewer, operator.
create function horsies.stale_tasks(stale_after_seconds double precision, most int) returns setof uuid
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set enable_seqscan = off set jit = off
as $function$
declare
    latest constant timestamptz := horsies.server_time() - make_interval(secs => stale_after_seconds);
begin
    return query
    select t.id from horsies.tasks t
    where t.status <> 'PENDING'
      and not exists (select from horsies.workers w where w.id = t.worker_id and w.heartbeat_at > latest)
    order by t.claimed_at, t.id limit most;
end
$function$;
