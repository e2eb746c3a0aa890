-- Purpose: Find tasks that wait for a turn in queues whose keys take no turns: they were sent by transactions that
-- were open while the declaration changed. Their queues are marked, so that claims return the tasks to the common
-- order. One probe of the index finds the next queue.
-- Planner settings: see docs/architecture.md.
-- Locks: the rows of these queues.
-- Called by: expire.
-- Granted to: nobody.
create function horsies.end_turns() returns void
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $function$
declare
    found_name text := '';
begin
    loop
        select t.queue into found_name from horsies.tasks t
        where t.queue > found_name and t.status = 'PENDING' and not t.held and t.turn_key is not null
        order by t.queue limit 1;
        exit when not found;
        insert into horsies.queues as q (name, turns) values (found_name, 'ending')
        on conflict (name) do update set turns = 'ending' where q.turns = 'off';
    end loop;
end
$function$;
