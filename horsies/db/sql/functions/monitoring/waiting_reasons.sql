-- Purpose: Count waiting tasks by queue, name and the reason for which they wait: the reasons of `why`, with the same
-- precedence. `accuracy` and `counted_at` are those of `waiting_figures`. Tasks of keys that are full, held or out of
-- tokens are counted for up to `most_keys` keys and `most_rows` tasks; others count as 'next', and so do tasks that
-- have fallen due in a keyed queue since its last claim. The cost is bounded, however many tasks wait.
--
-- 'held', 'overdue', 'retry' and the reasons of keys are counted row by row, up to `most_rows` of each. They are taken
-- off the figures of their queue and name; the rest of these has one reason.
-- Planner settings: see docs/architecture.md.
-- Locks: none.
-- Called by: queries/status.py, views/waiting_reasons.sql.
-- Granted to: viewer, operator.
create function horsies.waiting_reasons(most_rows int default 20000, most_keys int default 1000) returns table (
    queue text, task_name text, reason text, tasks bigint, accuracy text, counted_at timestamptz, clock timestamptz
)
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set enable_seqscan = off set enable_mergejoin = off set jit = off
as $function$
declare
    this_moment constant timestamptz := horsies.now();
    server_clock constant timestamptz := horsies.server_time();
    claimed_in_all bigint;
begin
    select count(*) into claimed_in_all from horsies.tasks t where t.status <> 'PENDING';
    return query
    with recursive figures as materialized (
        select f.* from horsies.waiting_figures(this_moment) as f
    ),
    -- Workers of one deployment register the same names and queues, so there are few kinds of workers.
    kinds as materialized (
        select distinct w.queues, w.task_names, w.caps, w.cluster_cap from horsies.workers w
        where w.heartbeat_at + w.stale_after >= server_clock
    ),
    serving as materialized (
        select f.queue, f.task_name, count(*) as kinds, min(d.cap) as cap,
               bool_and(coalesce(k.cluster_cap <= claimed_in_all, false)) as cluster_is_full
        from figures f join kinds k on f.task_name = any (k.task_names)
        cross join lateral unnest(k.queues, k.caps) as d (name, cap)
        where d.name = f.queue
        group by f.queue, f.task_name
    ),
    in_flight as materialized (
        select t.queue, count(*) as claimed from horsies.tasks t where t.status <> 'PENDING' group by t.queue
    ),
    regulated as materialized (
        select s.*, h.until is not null as is_held,
               coalesce(horsies.tokens_left(b.used_to, rate.produced, rate.full_from) = 0, false) as is_out
        from horsies.flow_settings(array(select distinct f.queue from figures f)) as s
        left join lateral (
            select max(k.until) as until from horsies.holds k
            where k.queue = s.name and k.scope = 'queue' and k.key = '' and k.until > this_moment
        ) as h on true
        left join lateral horsies.rate_at(s.name, 'queue', this_moment) as rate on true
        left join horsies.buckets b on b.queue = s.name and b.scope = 'queue' and b.key = ''
    ),
    settled as materialized (           -- the reason of the due tasks of a queue and a name, unless a key decides
        select f.queue, f.task_name, case
                   when q.paused then 'paused'
                   when s.kinds is null then 'no_worker'
                   when coalesce(i.claimed, 0) >= coalesce(q.max_concurrency, s.cap) then 'queue_full'
                   when s.cluster_is_full then 'cluster_full'
                   when r.is_held then 'held_back' end as reason,
               r.is_out is true as is_out
        from figures f
        left join serving s on s.queue = f.queue and s.task_name = f.task_name
        left join horsies.queues q on q.name = f.queue
        left join in_flight i on i.queue = f.queue
        left join regulated r on r.name = f.queue
    ),
    blocked as materialized (
        select b.* from horsies.blocked_keys(array(select r.name from regulated r), this_moment, most_keys) as b
    ),
    levels (queue, priority) as (       -- the priorities of their queues, by a loose index scan
        select b.queue, (select t.priority from horsies.tasks t
                         where t.queue = b.queue and t.status = 'PENDING' and not t.held and t.turn_key is not null
                         order by t.priority limit 1)
        from (select distinct k.queue from blocked k) as b
        union all
        select l.queue, (select t.priority from horsies.tasks t
                         where t.queue = l.queue and t.priority > l.priority and t.status = 'PENDING' and not t.held
                           and t.turn_key is not null
                         order by t.priority limit 1)
        from levels l where l.priority is not null
    ),
    overdue as materialized (
        select d.queue, d.task_name, d.is_due, count(*) as tasks
        from (select t.queue, t.task_name, t.run_at <= this_moment as is_due, t.status, t.held
              from horsies.tasks t where t.good_until <= this_moment order by t.good_until limit most_rows) as d
        where d.status = 'PENDING' and not d.held
        group by 1, 2, 3
    ),
    of_keys as materialized (
        select d.queue, d.task_name, d.reason, count(*) as tasks
        from (
            select b.queue, w.task_name, b.reason, w.good_until
            from blocked b join levels l on l.queue = b.queue
            cross join lateral (
                select t.task_name, t.good_until from horsies.tasks t
                where t.queue = b.queue and t.priority = l.priority and t.turn_key = b.key and t.status = 'PENDING'
                  and not t.held and t.turn_key is not null and t.run_at <= this_moment
                limit most_rows
            ) as w limit most_rows
        ) as d
        join settled e on e.queue = d.queue and e.task_name = d.task_name
        where e.reason is null and (d.good_until > this_moment) is not false
        group by 1, 2, 3
    ),
    retries as materialized (
        select r.queue, r.task_name, count(*) as tasks
        from (select t.queue, t.task_name from horsies.tasks t
              where t.exchange_no is null and not t.held and t.attempt > 0 and t.run_at > this_moment
                and (t.good_until > this_moment) is not false
              limit most_rows) as r
        group by 1, 2
    ),
    holding as materialized (
        select h.queue, h.task_name, count(*) as tasks
        from (select t.queue, t.task_name from horsies.tasks t where t.held limit most_rows) as h group by 1, 2
    ),
    counted (queue, task_name, reason, tasks, accuracy, counted_at) as (
        select h.queue, h.task_name, 'held', h.tasks,
               case when sum(h.tasks) over () < most_rows then 'exact' else 'at_least' end, null::timestamptz
        from holding h
        union all
        select o.queue, o.task_name, 'overdue', sum(o.tasks)::bigint,
               case when sum(sum(o.tasks)) over () < most_rows then 'exact' else 'at_least' end, null
        from overdue o group by o.queue, o.task_name
        union all
        select r.queue, r.task_name, 'retry', r.tasks,
               case when sum(r.tasks) over () < most_rows then 'exact' else 'at_least' end, null
        from retries r
        union all
        select f.queue, f.task_name, 'scheduled',
               f.scheduled - coalesce(r.tasks, 0)
               - coalesce((select sum(o.tasks) from overdue o
                           where o.queue = f.queue and o.task_name = f.task_name and not o.is_due), 0)::bigint,
               f.scheduled_accuracy, case when f.scheduled_accuracy = 'counted' then f.counted_at end
        from figures f left join retries r on r.queue = f.queue and r.task_name = f.task_name
        union all
        select k.queue, k.task_name, k.reason, k.tasks,
               case when sum(k.tasks) over () < most_rows then 'exact' else 'at_least' end, null
        from of_keys k
        union all
        select f.queue, f.task_name, coalesce(e.reason, case when e.is_out then 'rate_limit' else 'next' end),
               f.waiting
               - coalesce((select sum(k.tasks) from of_keys k
                           where k.queue = f.queue and k.task_name = f.task_name), 0)::bigint
               - coalesce((select sum(o.tasks) from overdue o
                           where o.queue = f.queue and o.task_name = f.task_name and o.is_due), 0)::bigint,
               f.waiting_accuracy, case when f.waiting_accuracy = 'counted' then f.counted_at end
        from figures f join settled e on e.queue = f.queue and e.task_name = f.task_name
    )
    select c.queue, c.task_name, c.reason, sum(c.tasks)::bigint,
           case when bool_or(c.accuracy = 'at_least') then 'at_least'
                when bool_or(c.accuracy = 'counted') then 'counted' else 'exact' end,
           min(c.counted_at), this_moment
    from counted c where c.tasks > 0
    group by c.queue, c.task_name, c.reason
    order by c.queue, c.task_name, c.reason;
end
$function$;
