-- Purpose: Delete expired holds and full buckets of a queue. Of those that belong to keys, each call looks at a few,
-- from the key `after_key` on (null: the first one), so that a claim does not read all keys. Returns the key at which
-- the next call begins; null: the first one. When the last hold is gone, the queue is no longer marked as held.
-- Planner settings: see docs/architecture.md.
-- Locks: rows of holds, buckets and `queues`. The caller holds the lock of the queue.
-- Called by: claim_regulated.
-- Granted to: nobody.
create function horsies.prune_flow(queue_name text, has_holds boolean, after_key text, clock timestamptz) returns text
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set enable_sort = off set jit = off
as $function$
declare
    most constant int := 100;                       -- rows of each table; one key has at most two
    first_key constant text := coalesce(after_key, '');
    next_key text;
    next_held_key text;
    full_from numeric;                              -- null: the rate is not in effect, and all buckets are full
begin
    if has_holds then
        delete from horsies.holds h
        where h.queue = queue_name and h.scope = 'queue' and h.key = '' and h.until <= clock;
        with seen as materialized (
            select h.key, h.kind, h.until from horsies.holds h
            where h.queue = queue_name and h.scope = 'key' and h.key >= first_key order by h.key, h.kind limit most
        ),
        deleted as (
            delete from horsies.holds h using seen s
            where h.queue = queue_name and h.scope = 'key' and h.key = s.key and h.kind = s.kind
              and s.until <= clock and h.until <= clock
        )
        select case when count(*) = most then max(s.key) end into next_held_key from seen s;
        if not exists (select from horsies.holds h where h.queue = queue_name) then
            update horsies.queues q set has_holds = false where q.name = queue_name;
            perform horsies.forget_queue(queue_name);
        end if;
    end if;
    select r.full_from into full_from from horsies.rate_at(queue_name, 'queue', clock) r;
    delete from horsies.buckets b
    where b.queue = queue_name and b.scope = 'queue' and b.key = '' and (b.used_to > full_from) is not true;
    select r.full_from into full_from from horsies.rate_at(queue_name, 'key', clock) r;
    with seen as materialized (
        select b.key, b.used_to from horsies.buckets b
        where b.queue = queue_name and b.scope = 'key' and b.key >= first_key order by b.key limit most
    ),
    deleted as (
        delete from horsies.buckets b using seen s
        where b.queue = queue_name and b.scope = 'key' and b.key = s.key
          and (s.used_to > full_from) is not true and (b.used_to > full_from) is not true
    )
    select case when count(*) = most then max(s.key) end into next_key from seen s;
    return least(next_key, next_held_key);
end
$function$;
