-- Purpose: Extend the lease of the tasks that a worker has prefetched. Returns the tasks that the worker keeps.
-- Tasks that were claimed more than `most_seconds` ago are returned to the queue, so that another worker can take
-- them. A task whose row another transaction holds is kept without an extension.
-- Planner settings: see docs/architecture.md.
-- Locks: task rows in the order of their ids, SKIP LOCKED.
-- Called by: queries/worker.py.
-- Granted to: worker.
create function horsies.renew(
    renewing_worker uuid, ids uuid[], exchanges bigint[], lease_seconds double precision, most_seconds double precision
) returns setof uuid
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $function$
declare
    clock constant timestamptz := horsies.now();
    mine uuid[];
    old uuid[];
begin
    perform horsies.need_read_committed();
    select array_agg(locked.id), array_agg(locked.id) filter (where locked.is_old) into mine, old
    from (
        select t.id, t.claimed_at <= clock - make_interval(secs => most_seconds) as is_old
        from horsies.tasks t
        join unnest(ids, exchanges) as given (id, exchange_no)
            on t.id = any (array[given.id]) and given.exchange_no = t.exchange_no
        where t.worker_id = renewing_worker and t.status = 'CLAIMED'
        order by given.id for update of t skip locked
    ) as locked;
    perform horsies.announce_wake() where horsies.return_to_queue(old, false) > 0;
    return query
    update horsies.tasks t set lease_until = horsies.server_time() + make_interval(secs => lease_seconds)
    where t.id = any (mine) and t.worker_id = renewing_worker
    returning t.id;
end
$function$;
