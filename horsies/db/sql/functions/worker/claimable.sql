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
-- Called by: claim_from_queue, claim_in_order, notify_room, start, why.
-- Granted to: nobody.
create function horsies.claimable(asking_worker uuid, names text[], free int)
returns table (name text, room int, cluster_room int, max_concurrency int)
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_nestloop = off set enable_hashjoin = on set jit = off
as $function$
declare
    max_counted_singly constant int := 16;
    counts_together constant boolean := cardinality(names) > max_counted_singly;
begin
    select w.cluster_cap - (select count(*) from horsies.tasks t where t.status <> 'PENDING') into cluster_room
    from horsies.workers w where w.id = asking_worker and w.cluster_cap is not null;
    return query
    with claimed as materialized (
        select t.queue, count(*)::int as number from horsies.tasks t
        where counts_together and t.status <> 'PENDING' group by t.queue
    )
    select counted.name, counted.room, claimable.cluster_room, counted.max_concurrency
    from (
        select unpaused.name, unpaused.max_concurrency,
               least(claimable.cluster_room,
                     unpaused.max_concurrency - case
                         when unpaused.max_concurrency is null then null
                         when counts_together then coalesce(claimed.number, 0)
                         else (select count(*)::int from horsies.tasks t
                               where t.queue = unpaused.name and t.status <> 'PENDING') end) as room
        from (
            select given.name, coalesce(q.max_concurrency, declared.max_concurrency) as max_concurrency
            from (select distinct n from unnest(names) as n) as given (name)
            left join (
                select d.name, d.max_concurrency
                from horsies.workers w cross join unnest(w.queues, w.caps) as d (name, max_concurrency)
                where w.id = asking_worker
            ) as declared on declared.name = given.name
            left join horsies.queues q on q.name = given.name
            where q.paused is not true
        ) as unpaused
        left join claimed on claimed.queue = unpaused.name
        offset 0                                    -- counts once for each queue, not once for each use of `room`
    ) as counted
    where counted.room is null or (counted.room > 0 and free > 0);
end
$function$;
