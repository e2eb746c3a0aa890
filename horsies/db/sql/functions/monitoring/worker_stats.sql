-- Purpose: List the known workers with what they have registered, and count the tasks that each holds.
-- Planner settings: see docs/architecture.md.
-- Locks: none.
-- Called by: queries/monitoring.py, views/worker_status.sql.
-- Granted to: worker, viewer, operator.
create function horsies.worker_stats() returns table (
    id uuid, hostname text, pid int, process_name text, library_version text, processes int, concurrency int,
    queues text[], task_names text[], started_at timestamptz, heartbeat_at timestamptz, is_stale boolean,
    claimed int, running int, clock_skew double precision
)
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set enable_seqscan = off set jit = off
as $function$
declare
    clock constant timestamptz := horsies.server_time();
begin
    return query
    select w.id, w.hostname, w.pid, w.process_name, w.library_version, w.processes, w.concurrency, w.queues,
           w.task_names, w.started_at, w.heartbeat_at, w.heartbeat_at + w.stale_after < clock,
           held.claimed::int, held.running::int, w.clock_skew
    from horsies.workers w
    cross join lateral (
        select count(*) filter (where t.status = 'CLAIMED') as claimed,
               count(*) filter (where t.status = 'RUNNING') as running
        from horsies.tasks t where t.worker_id = w.id and t.status <> 'PENDING'
    ) as held
    order by w.started_at, w.id;
end
$function$;
