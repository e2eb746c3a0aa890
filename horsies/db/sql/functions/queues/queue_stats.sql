-- Purpose: Return figures about these queues, about queues that live workers serve, and about queues that were
-- paused or limited at run time: tasks that are due (`waiting`), tasks that are not due yet (`scheduled`), claimed
-- and running tasks, the pause, the effective limit (the smallest one if workers declare different limits), and the
-- number of live workers.
-- Planner settings: see docs/architecture.md.
-- Locks: none.
-- Called by: queries/monitoring.py.
-- Granted to: viewer, operator.
create function horsies.queue_stats(names text[]) returns table (
    name text, waiting int, scheduled int, claimed int, running int, paused boolean, max_concurrency int, workers int
)
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set enable_seqscan = off set jit = off
as $function$
declare
    clock constant timestamptz := horsies.now();
begin
    return query
    with living as (
        select d.name, d.cap from horsies.workers w cross join unnest(w.queues, w.caps) as d (name, cap)
        where w.heartbeat_at + w.stale_after >= horsies.server_time()
    )
    select known.name, here.due::int, here.later::int, here.claimed::int, here.running::int, q.paused is true,
           coalesce(q.max_concurrency, (select min(l.cap) from living l where l.name = known.name)),
           (select count(*)::int from living l where l.name = known.name)
    from (select unnest(queue_stats.names) union select l.name from living l union select r.name from horsies.queues r)
        as known (name)
    left join horsies.queues q on q.name = known.name
    cross join lateral (
        select count(*) filter (where t.status = 'PENDING' and t.run_at <= clock) as due,
               count(*) filter (where t.status = 'PENDING' and t.run_at > clock) as later,
               count(*) filter (where t.status = 'CLAIMED') as claimed,
               count(*) filter (where t.status = 'RUNNING') as running
        from horsies.tasks t where t.queue = known.name
    ) as here
    order by known.name;
end
$function$;
