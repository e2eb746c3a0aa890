-- Purpose: Return claimed tasks that a worker has not started to the queue. Rows whose fence no longer holds are
-- left alone. Returns the tasks that were not returned because another transaction holds their rows: the worker
-- releases them again later.
-- Planner settings: see docs/architecture.md.
-- Locks: task rows in the order of their ids, SKIP LOCKED.
-- Called by: queries/worker.py.
-- Granted to: worker.
create function horsies.release(releasing_worker uuid, ids uuid[], exchanges bigint[]) returns setof uuid
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $function$
declare
    mine uuid[];
begin
    perform horsies.need_read_committed();
    select array_agg(locked.id) into mine
    from (
        select t.id from horsies.tasks t
        join unnest(ids, exchanges) as given (id, exchange_no)
            on t.id = any (array[given.id]) and given.exchange_no = t.exchange_no
        where t.worker_id = releasing_worker
        order by given.id for update of t skip locked
    ) as locked;
    perform horsies.return_to_queue(mine, false);
    return query
    select given.id from unnest(ids, exchanges) as given (id, exchange_no)
    join horsies.tasks t on t.id = any (array[given.id]) and t.exchange_no = given.exchange_no
    where t.worker_id = releasing_worker;
end
$function$;
