-- Purpose: Select, in their order, the candidate tasks that fit into the remaining room of their queues. From queues
-- with a limit, only tasks are selected that can start at once because the worker still has something `free`.
-- Locks: none. The caller holds the locks of the limits.
-- Called by: claim.
-- Granted to: nobody.
create function horsies.within_caps(candidates uuid[], names text[], rooms int[], free int) returns uuid[]
language sql volatile as $function$
    select array_agg(kept.id order by kept.place)
    from (
        select fitting.id, fitting.place, fitting.room, row_number() over (order by fitting.place) as turn
        from (
            select o.id, o.place, open.room, row_number() over (partition by t.queue order by o.place) as nth
            from unnest(candidates) with ordinality as o (id, place)
            join horsies.tasks t on t.id = o.id
            join unnest(names, rooms) as open (name, room) on open.name = t.queue
        ) as fitting
        where fitting.room is null or fitting.nth <= fitting.room
    ) as kept
    where kept.room is null or kept.turn <= free
$function$;
