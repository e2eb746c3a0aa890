-- Purpose: Count how many more tasks fit into these queues. `limited_names` and `limits` are the queues with a limit,
-- `cluster_limit` is that of the cluster (null: none). Returns the queues that have room, with their room (null: no
-- limit), and the room of the cluster. Queues with a limit are left out if the worker has nothing `free`.
-- The lists of queues with a limit may be long, so they are joined by hashing.
--
-- Planner settings: see docs/architecture.md.
-- Locks: none. The caller holds the locks of these limits, and must call this in a statement after it has taken them.
-- Called by: claim_in_order.
-- Granted to: nobody.
create function horsies.limit_rooms(
    names text[], limited_names text[], limits int[], cluster_limit int, free int,
    out usable text[], out rooms int[], out cluster_room int
)
language plpgsql
set enable_nestloop = off set enable_hashjoin = on
as $function$
begin
    if cluster_limit is not null then
        cluster_room := cluster_limit - (select count(*) from horsies.tasks t where t.status <> 'PENDING');
    end if;
    select coalesce(array_agg(counted.name), '{}'), array_agg(counted.room) into usable, rooms
    from (
        select q.name, least(cluster_room, limited.max_concurrency - case when limited.max_concurrency is not null then
            (select count(*)::int from horsies.tasks t where t.queue = q.name and t.status <> 'PENDING') end) as room
        from unnest(names) as q (name)
        left join unnest(limited_names, limits) as limited (name, max_concurrency) on limited.name = q.name
        offset 0                                    -- counts once for each queue, not once for each use of `room`
    ) as counted
    where counted.room is null or (counted.room > 0 and free > 0);
end
$function$;
