-- Purpose: List the pairs of a known name and a priority, from the priority `lowest` on, that have waiting rows, with
-- the due time of the first of them. With `queues`, list the triples of a name, one of these queues and a priority
-- instead. A loose index scan steps from one pair (or triple) to the next, so it costs one probe for each name (or
-- name and queue) and one for each result, however many rows are waiting.
-- Locks: none.
-- Called by: claim_in_order.
-- Granted to: nobody.
create function horsies.claim_heads(names text[], queues text[], lowest int)
returns table (name text, queue text, priority smallint, run_at timestamptz)
language plpgsql as $function$
begin
    if queues is null then
        return query
        with recursive head as (
            select known.name, earliest.priority, earliest.run_at
            from unnest(names) as known (name)
            cross join lateral (
                select t.priority, t.run_at from horsies.tasks t
                where t.task_name = known.name and t.priority >= lowest and t.status = 'PENDING' and not t.held
                  and t.turn_key is null
                order by t.priority, t.run_at limit 1
            ) as earliest
            union all
            select head.name, following.priority, following.run_at
            from head
            cross join lateral (
                select t.priority, t.run_at from horsies.tasks t
                where t.task_name = head.name and t.priority > head.priority and t.status = 'PENDING' and not t.held
                  and t.turn_key is null
                order by t.priority, t.run_at limit 1
            ) as following
        )
        select head.name, null::text, head.priority, head.run_at from head;
    else
        return query
        with recursive head as (
            select known.name, open.name as queue, earliest.priority, earliest.run_at
            from unnest(names) as known (name)
            cross join unnest(queues) as open (name)
            cross join lateral (
                select t.priority, t.run_at from horsies.tasks t
                where t.task_name = known.name and t.queue = open.name and t.priority >= lowest
                  and t.exchange_no is null and not t.held
                order by t.priority, t.run_at limit 1
            ) as earliest
            union all
            select head.name, head.queue, following.priority, following.run_at
            from head
            cross join lateral (
                select t.priority, t.run_at from horsies.tasks t
                where t.task_name = head.name and t.queue = head.queue and t.priority > head.priority
                  and t.exchange_no is null and not t.held
                order by t.priority, t.run_at limit 1
            ) as following
        )
        select head.name, head.queue, head.priority, head.run_at from head;
    end if;
end
$function$;
