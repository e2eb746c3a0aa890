-- Purpose: Return the queues from which a worker may claim now: those that are neither paused nor full. `room` is how
-- many more tasks the limits of the queue and of the cluster allow (null: no limit); `cluster_room` is how many the
-- cluster's limit allows; `max_concurrency` is the limit of the queue. Queues with a limit are left out if the worker
-- has nothing `free`, because their tasks must start at once. A limit counts all claimed tasks, including those of
-- dead workers that were not reaped yet, because these may still run. The limit in `queues` takes precedence over the
-- one that the worker declared. A caller that relies on the result must hold the locks that `claim` takes, and must
-- read in a later statement.
--
-- The claimed tasks of few queues are counted queue by queue, those of many queues in one scan of everything that is
-- claimed. Lists of queues may be long, so they are joined by hashing.
--
-- Planner settings: see docs/architecture.md.
-- Locks: none.
-- Called by: claim, notify_room, start, why.
-- Granted to: nobody.
create function horsies.claimable(asking_worker uuid, names text[], free int)
returns table (name text, room int, cluster_room int, max_concurrency int)
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_nestloop = off set enable_hashjoin = on set jit = off
as $function$
declare
    few constant int := 16;
    is_long constant boolean := cardinality(names) > few;
begin
    select w.cluster_cap - (select count(*) from horsies.tasks t where t.status <> 'PENDING') into cluster_room
    from horsies.workers w where w.id = asking_worker and w.cluster_cap is not null;
    return query
    with every as materialized (
        select t.queue, count(*)::int as claimed from horsies.tasks t
        where is_long and t.status <> 'PENDING' group by t.queue
    )
    select asked.name, asked.room, claimable.cluster_room, asked.most
    from (
        select given.name, coalesce(q.max_concurrency, declared.cap) as most,
               least(case when coalesce(q.max_concurrency, declared.cap) is not null then
            coalesce(q.max_concurrency, declared.cap)
            - case when is_long then coalesce(every.claimed, 0) else
                  (select count(*)::int from horsies.tasks t where t.queue = given.name and t.status <> 'PENDING') end
            end, claimable.cluster_room) as room
        from (select distinct n from unnest(names) as n) as given (name)
        left join (
            select d.name, d.cap from horsies.workers w cross join unnest(w.queues, w.caps) as d (name, cap)
            where w.id = asking_worker
        ) as declared on declared.name = given.name
        left join horsies.queues q on q.name = given.name
        left join every on every.queue = given.name
        where q.paused is not true
    ) as asked
    where asked.room is null or (asked.room > 0 and free > 0);
end
$function$;
