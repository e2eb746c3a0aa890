-- Purpose: Give up to `most` tasks that were sent before the keys of these queues took turns their place in the order
-- of turns. Claims do the same, for a few tasks each; this is faster after the first declaration. Claimed tasks
-- without a key are marked as well, so that they are counted. Returns how many tasks it changed; 0: nothing is left.
-- Planner settings: see docs/architecture.md.
-- Locks: the locks of the queues; then task rows, SKIP LOCKED.
-- Called by: queries/flow.py.
-- Granted to: worker.
create function horsies.backfill_turns(names text[], most int) returns int
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $function$
declare
    clock constant timestamptz := horsies.now();
    keyed constant text[] := array(select s.name from horsies.flow_settings(names) as s where s.turns = 'on');
    each_name text;
    changed int := 0;
    part int;
begin
    perform horsies.lock_limits(array(select 'queue ' || k.name from unnest(keyed) as k (name)), may_wait => true);
    foreach each_name in array keyed loop
        changed := changed + horsies.promote(each_name, 'on', most, clock, null);
        with claimed as (
            select t.id from horsies.tasks t
            where t.queue = each_name and t.status <> 'PENDING' and t.task_key is null and t.turn_key is null
            order by t.id limit most for update skip locked
        )
        update horsies.tasks t set turn_key = '' from claimed where t.id = any (array[claimed.id]);
        get diagnostics part = row_count;
        changed := changed + part;
    end loop;
    return changed;
end
$function$;
