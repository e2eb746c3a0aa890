-- Purpose: Wake workers if a finished task has made room below a limit and tasks are waiting for that room. Workers
-- call this after their own next claim, which usually takes the room; then nobody is woken.
--
-- Planner settings: see docs/architecture.md.
-- Locks: none.
-- Called by: queries/worker.py.
-- Granted to: worker.
create function horsies.notify_room(asking_worker uuid, freed text[]) returns void
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $function$
begin
    perform horsies.notify_wake() where exists (
        select from horsies.claimable(asking_worker, freed, 1) as open
        where horsies.has_waiting(open.name)
           or (open.cluster_room is not null
               and (select true from horsies.tasks t where t.status = 'PENDING' and not t.held limit 1))
    );
end
$function$;
