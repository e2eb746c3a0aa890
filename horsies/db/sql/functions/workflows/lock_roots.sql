-- Purpose: Lock the root runs that these tasks belong to. A run and all runs below it change under the lock of their
-- root, which is always taken before any task row. The root of a task never changes, so it is read without a lock.
-- The caller's `lock_timeout` bounds the wait.
-- Planner settings: see docs/architecture.md.
-- Locks: root runs in the order of their ids.
-- Called by: cancel, cancel_many, finish_batch, finish_own, workflow_attach, workflow_map.
-- Granted to: nobody.
create function horsies.lock_roots(tasks uuid[]) returns void
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $function$
begin
    perform from horsies.workflows w
    where w.id = any (array(select t.root_id from horsies.tasks t where t.id = any (tasks) and t.root_id is not null))
    order by w.id for update;
end
$function$;
