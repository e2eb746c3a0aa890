-- Purpose: these queues have one task less in hand: wake workers if there is room below a cap and something that waits
-- for it. Behind the claim of whoever freed it, which mostly takes the room for itself: then nobody is woken.
-- Locks: none. Called by: workers in a transaction of their own, behind outcomes of tasks of capped queues.
create function horsies.notify_room(asking_worker uuid, freed text[]) returns void
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $function$
begin
    perform horsies.notify_wake() where exists (
        select from horsies.claimable(asking_worker, freed, 1) as open
        where exists (select from horsies.tasks t
                      where t.queue = open.name and t.status = 'PENDING' and not t.held)
           or (open.cluster_room is not null
               and exists (select from horsies.tasks t where t.status = 'PENDING' and not t.held))
    );
end
$function$;
