-- Purpose: Return claimed tasks that a worker has not started to the queue. Rows whose fence no longer holds are
-- left alone. Returns how many were returned.
-- Planner settings: see docs/architecture.md.
-- Locks: task rows in the order of their ids.
-- Called by: queries/worker.py.
-- Granted to: worker.
create function horsies.release(releasing_worker uuid, ids uuid[], exchanges bigint[]) returns int
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
        join unnest(ids, exchanges) as given (id, exchange_no) on given.id = t.id and given.exchange_no = t.exchange_no
        where t.worker_id = releasing_worker
        order by t.id for update of t
    ) as locked;
    return horsies.return_to_queue(mine, false);
end
$function$;
