-- Purpose: Delete expired holds and full buckets of a queue, a few at a time. When the last hold is gone, the queue
-- is no longer marked as held.
-- Locks: rows of holds, buckets and `queues`. The caller holds the lock of the queue.
-- Called by: claim_regulated.
-- Granted to: nobody.
create function horsies.prune_flow(queue_name text, has_holds boolean, clock timestamptz) returns void
language plpgsql as $function$
declare
    most constant int := 100;
begin
    if has_holds then
        delete from horsies.holds h where h.queue = queue_name and h.until <= clock;
        if not exists (select from horsies.holds h where h.queue = queue_name) then
            update horsies.queues q set has_holds = false where q.name = queue_name;
            perform horsies.forget_queue(queue_name);
        end if;
    end if;
    delete from horsies.buckets b
    where (b.queue, b.scope, b.key) in (
        select f.queue, f.scope, f.key from horsies.buckets f
        where f.queue = queue_name and f.full_at <= clock order by f.full_at limit most);
end
$function$;
