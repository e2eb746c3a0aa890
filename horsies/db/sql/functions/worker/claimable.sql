-- Purpose: from which of these queues a worker may claim now: not from a paused one, nor from one that is full. `room`
-- is how many tasks more its cap and the cluster's allow, null without a cap; `cluster_room` what the cluster's allows.
-- A capped queue is only given to tasks that can begin at once: not if the worker has nothing `free`.
-- A cap counts all that is in hand, that of workers which died and were not reaped yet, too: their tasks may still run.
-- What the worker has declared counts, unless `queues` says otherwise. Who is to rely on the rooms holds the locks that
-- `claim` takes, and looks in a statement after that.
-- Locks: none. Called by: claim, start, notify_room, why.
create function horsies.claimable(asking_worker uuid, names text[], free int)
returns table (name text, room int, cluster_room int)
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $function$
begin
    select w.cluster_cap - (select count(*) from horsies.tasks t where t.status <> 'PENDING') into cluster_room
    from horsies.workers w where w.id = asking_worker and w.cluster_cap is not null;
    return query
    select asked.name, asked.room, claimable.cluster_room
    from (
        select given.name, least(case when coalesce(q.max_concurrency, declared.cap) is not null then
            coalesce(q.max_concurrency, declared.cap)
            - (select count(*)::int from horsies.tasks t where t.queue = given.name and t.status <> 'PENDING')
            end, claimable.cluster_room) as room
        from (select distinct n from unnest(names) as n) as given (name)
        left join (
            select d.name, d.cap from horsies.workers w cross join unnest(w.queues, w.caps) as d (name, cap)
            where w.id = asking_worker
        ) as declared on declared.name = given.name
        left join horsies.queues q on q.name = given.name
        where q.paused is not true
    ) as asked
    where asked.room is null or (asked.room > 0 and free > 0);
end
$function$;
