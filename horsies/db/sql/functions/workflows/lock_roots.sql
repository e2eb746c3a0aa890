-- Locks the root runs that these tasks belong to. A run and all runs below it move under the lock of its root, and who
-- needs both takes it before any task row. A task's root never changes, so it is looked for without a lock.
-- Locks: root runs in the order of their ids. Called by: finish, finish_batch, cancel, cancel_many, expire, reap, workflow_attach,
-- workflow_map.
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
