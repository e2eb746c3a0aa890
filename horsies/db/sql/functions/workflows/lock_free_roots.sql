-- Purpose: Lock those root runs of these tasks that no other transaction holds. Returns the tasks that have no root
-- run or whose root run is locked now. Callers leave the other tasks alone and try again later. In contrast to
-- `lock_roots`, this function never waits.
--
-- Whether a root run exists is a subquery with a limit. The planner may answer an `exists` below an `or` by reading
-- all runs into a hash table.
--
-- Planner settings: see docs/architecture.md.
-- Locks: root runs in the order of their ids, SKIP LOCKED.
-- Called by: expire, finish_each, reap.
-- Granted to: nobody.
create function horsies.lock_free_roots(tasks uuid[]) returns uuid[]
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $function$
declare
    locked uuid[];
begin
    locked := array(
        select w.id from horsies.workflows w
        where w.id = any (array(
            select t.root_id from horsies.tasks t where t.id = any (tasks) and t.root_id is not null))
        order by w.id for update skip locked);
    return array(
        select t.id from horsies.tasks t
        where t.id = any (tasks)
          and (t.root_id is null or t.root_id = any (locked)
               or (select true from horsies.workflows w where w.id = t.root_id limit 1) is null));
end
$function$;
