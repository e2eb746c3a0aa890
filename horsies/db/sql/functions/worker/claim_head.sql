-- Purpose: Find the first waiting row of these queues, in the order of priority and due time, among the priorities
-- after `after_priority`. Rows before the marks of `keep_claim_marks` are not looked at. No row is returned if none
-- is waiting.
--
-- The marks of a queue divide its priorities into ranges. Each range begins at a mark and ends before the priority of
-- the next mark. A queue without a mark at a priority is looked at there from its first row on. Each range is one
-- probe, whose conditions are all answered by the index `tasks_to_claim`: its entries before the time of the mark are
-- stepped over without reading their rows.
-- Locks: none.
-- Called by: claim_in_order, has_waiting, plain_heads.
-- Granted to: nobody.
create function horsies.claim_head(queue_names text[], after_priority int, marks jsonb)
returns table (priority smallint, run_at timestamptz)
language plpgsql as $function$
declare
    last_priority constant int := 100;
begin
    return query
    with bounds as (
        select q.name as queue, after_priority + 1 as priority, coalesce((
                   select (m.mark ->> 2)::timestamptz from jsonb_array_elements(marks -> 'marks') as m (mark)
                   where m.mark ->> 0 = q.name and (m.mark ->> 1)::int <= after_priority + 1
                   order by (m.mark ->> 1)::int desc limit 1), '-infinity') as since
        from unnest(queue_names) as q (name)
        union all
        select m.mark ->> 0, (m.mark ->> 1)::int, (m.mark ->> 2)::timestamptz
        from jsonb_array_elements(marks -> 'marks') as m (mark)
        where m.mark ->> 0 = any (queue_names) and (m.mark ->> 1)::int > after_priority + 1
    ),
    ranges as (
        select b.queue, b.priority::smallint as first, b.since,
               (coalesce(lead(b.priority) over (partition by b.queue order by b.priority, b.since) - 1,
                         last_priority))::smallint as last
        from bounds as b
    )
    select head.priority, head.run_at
    from ranges as r
    cross join lateral (
        select t.priority, t.run_at from horsies.tasks t
        where t.queue = r.queue and (t.priority, t.run_at) >= (r.first, r.since) and t.priority <= r.last
          and t.run_at >= r.since and t.status = 'PENDING' and not t.held and t.turn_key is null
        order by t.priority, t.run_at limit 1
    ) as head
    order by head.priority, head.run_at limit 1;
end
$function$;
