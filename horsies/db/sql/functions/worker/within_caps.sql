-- Purpose: Select, in their order, the candidate tasks that fit into the remaining room of their queues. `names` are
-- the queues that have room, with their `rooms` (null: no limit); tasks of other queues are left out. From queues with
-- a limit, only tasks are selected that can start at once: those among the first `free` of the tasks that fit.
-- Locks: none. The caller holds the locks of the limits.
-- Called by: claim_in_order.
-- Granted to: nobody.
create function horsies.within_caps(candidates uuid[], names text[], rooms int[], free int) returns uuid[]
language sql volatile as $function$
    select array_agg(fitting.id order by fitting.place)
    from (
        select numbered.id, numbered.place, numbered.room, row_number() over (order by numbered.place) as nth_of_all
        from (
            select candidate.id, candidate.place, open.room,
                   row_number() over (partition by t.queue order by candidate.place) as nth_of_queue
            from unnest(candidates) with ordinality as candidate (id, place)
            join horsies.tasks t on t.id = any (array[candidate.id])
            join unnest(names, rooms) as open (name, room) on open.name = t.queue
        ) as numbered
        where numbered.room is null or numbered.nth_of_queue <= numbered.room
    ) as fitting
    where fitting.room is null or fitting.nth_of_all <= free
$function$;
