-- Purpose: Return after how many seconds the first task of a regulated queue and priority falls due that waits for its
-- time; null: none waits. A task whose key is held beyond that time cannot start before the hold ends, so its wait is
-- spread (see `spread_wait`). The last of many rows that are read counts with its own time, because a row behind it
-- may have a key that is not held.
-- Locks: none.
-- Called by: claim_from_queue.
-- Granted to: nobody.
create function horsies.scheduled_wait(queue_name text, at_priority int, clock timestamptz, has_holds boolean)
returns double precision
language plpgsql as $function$
declare
    most_read constant int := case when has_holds then 20 else 1 end;
begin
    return (
        select min(case when few.place < most_read and h.until >= few.run_at then horsies.spread_wait(h.until, clock)
                        else extract(epoch from few.run_at - clock)::double precision end)
        from (
            select r.run_at, r.key, row_number() over (order by r.run_at) as place
            from (
                select t.run_at, coalesce(t.task_key, '') as key from horsies.tasks t
                where t.queue = queue_name and t.priority = at_priority and t.run_at > clock and t.status = 'PENDING'
                  and not t.held and t.turn_key is null
                order by t.run_at limit most_read
            ) as r
        ) as few
        left join horsies.holds h on has_holds and h.queue = queue_name and h.scope = 'key' and h.key = few.key);
end
$function$;
