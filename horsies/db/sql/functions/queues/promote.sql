-- Purpose: Move up to `most` due tasks of a queue whose keys take turns into the order of turns, the highest priority
-- first; or, if the keys no longer take turns, move up to `most` tasks back into the common order. When none is left
-- there, the queue ends to be regulated for this reason. Returns how many rows it moved. `heads` are the priorities at
-- which tasks wait in the common order, with the due times of the first ones (see `plain_heads`); if it is null, they
-- are searched.
-- Planner settings: see docs/architecture.md.
-- Locks: task rows, SKIP LOCKED; the queue's row. The caller holds the lock of the queue.
-- Called by: backfill_turns, claim_regulated.
-- Granted to: nobody.
create function horsies.promote(queue_name text, queue_turns text, most int, clock timestamptz, heads jsonb)
returns int
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $function$
declare
    at_priority int := 0;
    first_due timestamptz;
    part int;
    moved int := 0;
begin
    if queue_turns = 'ending' then
        with back as (
            select t.id from horsies.tasks t
            where t.queue = queue_name and t.status = 'PENDING' and not t.held and t.turn_key is not null
            order by t.priority, t.turn_key, t.run_at, t.id limit most for update skip locked
        )
        update horsies.tasks t set turn_key = null from back where t.id = any (array[back.id]);
        get diagnostics moved = row_count;
        if moved = 0 and not exists (
            select from horsies.tasks t
            where t.queue = queue_name and t.status = 'PENDING' and not t.held and t.turn_key is not null
        ) then
            update horsies.queues q set turns = 'off' where q.name = queue_name and q.turns = 'ending';
            perform horsies.forget_queue(queue_name);
        end if;
        return moved;
    end if;
    while moved < most loop
        if heads is null then
            select t.priority, t.run_at into at_priority, first_due from horsies.tasks t
            where t.queue = queue_name and t.priority > at_priority and t.status = 'PENDING' and not t.held
              and t.turn_key is null
            order by t.priority, t.run_at limit 1;
        else
            select h.priority::int, h.first_due::timestamptz into at_priority, first_due
            from jsonb_each_text(heads) as h (priority, first_due) where h.priority::int > at_priority
            order by h.priority::int limit 1;
        end if;
        exit when not found;
        with due as (
            select t.id from horsies.tasks t
            where t.queue = queue_name and t.priority = at_priority and t.run_at >= first_due and t.run_at <= clock
              and t.status = 'PENDING' and not t.held and t.turn_key is null
            order by t.run_at, t.id limit most - moved for update skip locked
        )
        update horsies.tasks t set turn_key = coalesce(t.task_key, '') from due where t.id = any (array[due.id]);
        get diagnostics part = row_count;
        moved := moved + part;
    end loop;
    return moved;
end
$function$;
