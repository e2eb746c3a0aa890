-- Purpose: Return the state of queues: of those with these names, of those that live workers serve, of those that were
-- paused or limited at run time, and of those that have tasks. `waiting` tasks are due and not claimed, `scheduled`
-- ones are not due yet (retries among them), `held` ones belong to paused workflow runs (counted up to 100,000). The
-- columns of accuracy are those of `waiting_figures`. `oldest_due_at` is the due time of the task that has waited
-- longest. `held_until` is the end of a hold of the whole queue, because a service refused work. `max_concurrency` is
-- the effective limit (the smallest one if workers declare different limits). `clock` is the time of the answer.
-- Planner settings: see docs/architecture.md.
-- Locks: none.
-- Called by: queries/status.py, views/queue_status.sql.
-- Granted to: viewer, operator.
create function horsies.queue_status(names text[]) returns table (
    name text, waiting bigint, waiting_accuracy text, scheduled bigint, scheduled_accuracy text,
    counted_at timestamptz, held bigint, claimed bigint, running bigint, oldest_due_at timestamptz, paused boolean,
    held_until timestamptz, max_concurrency int, workers int, clock timestamptz
)
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set enable_seqscan = off set jit = off
as $function$
declare
    this_moment constant timestamptz := horsies.now();
    server_clock constant timestamptz := horsies.server_time();
    most_held constant int := 100000;
begin
    return query
    with living as materialized (
        select d.name, min(d.cap) as cap, count(*)::int as workers
        from horsies.workers w cross join unnest(w.queues, w.caps) as d (name, cap)
        where w.heartbeat_at + w.stale_after >= server_clock group by d.name
    ),
    figures as materialized (
        select f.queue as name, sum(f.waiting)::bigint as waiting, sum(f.scheduled)::bigint as scheduled,
               -- 'at_least', 'counted' and 'exact' sort in this order of preference
               case when bool_or(f.waiting_accuracy = 'at_least') then 'at_least'
                    when bool_or(f.waiting_accuracy = 'counted') then 'counted' else 'exact' end as waiting_accuracy,
               case when bool_or(f.scheduled_accuracy = 'at_least') then 'at_least'
                    when bool_or(f.scheduled_accuracy = 'counted') then 'counted' else 'exact' end
                   as scheduled_accuracy,
               min(f.counted_at) as counted_at, min(f.first_due_at) as oldest_due_at
        from horsies.waiting_figures(this_moment) as f group by f.queue
    ),
    in_flight as materialized (
        select t.queue as name, count(*) filter (where t.status = 'CLAIMED') as claimed,
               count(*) filter (where t.status = 'RUNNING') as running
        from horsies.tasks t where t.status <> 'PENDING' group by t.queue
    ),
    holding as materialized (
        select h.queue as name, count(*) as held
        from (select t.queue from horsies.tasks t where t.held limit most_held) as h group by h.queue
    )
    select known.name, coalesce(f.waiting, 0), coalesce(f.waiting_accuracy, 'exact'), coalesce(f.scheduled, 0),
           coalesce(f.scheduled_accuracy, 'exact'), f.counted_at, coalesce(o.held, 0), coalesce(i.claimed, 0),
           coalesce(i.running, 0), f.oldest_due_at, q.paused is true,
           (select max(h.until) from horsies.holds h
            where h.queue = known.name and h.scope = 'queue' and h.key = '' and h.until > this_moment),
           coalesce(q.max_concurrency, l.cap), coalesce(l.workers, 0), this_moment
    from (select unnest(names) union select l.name from living l union select r.name from horsies.queues r
          union select f.name from figures f union select i.name from in_flight i union select o.name from holding o)
        as known (name)
    left join horsies.queues q on q.name = known.name
    left join living l on l.name = known.name
    left join figures f on f.name = known.name
    left join in_flight i on i.name = known.name
    left join holding o on o.name = known.name
    order by known.name;
end
$function$;
