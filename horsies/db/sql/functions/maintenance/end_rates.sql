-- Purpose: Delete buckets of rates that are not in effect any more, at most `most` of each rate, and then the rates. A
-- change of the rate leaves them, so that it takes no time. A queue whose lock another transaction holds is left for
-- the next call. Claims of a queue that still has a rate or keys delete them, too (`prune_flow`).
-- Planner settings: see docs/architecture.md.
-- Locks: the locks of these queues, SKIP LOCKED; then rows of buckets and `rates`.
-- Called by: expire.
-- Granted to: nobody.
create function horsies.end_rates(most int) returns void
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $function$
declare
    ended record;
    deleted int;
begin
    for ended in
        select r.queue, r.scope from horsies.rates r where r.token_us is null order by r.queue, r.scope
    loop
        continue when cardinality(horsies.lock_limits(array['queue ' || ended.queue], false)) = 0;
        continue when not exists (              -- it may have begun again before the lock was taken
            select from horsies.rates r
            where r.queue = ended.queue and r.scope = ended.scope and r.token_us is null);
        delete from horsies.buckets b
        where b.queue = ended.queue and b.scope = ended.scope and b.key = any (array(
            select few.key from horsies.buckets few
            where few.queue = ended.queue and few.scope = ended.scope order by few.key limit most));
        get diagnostics deleted = row_count;
        delete from horsies.rates r
        where deleted < most and r.queue = ended.queue and r.scope = ended.scope;
    end loop;
end
$function$;
