-- Purpose: Return those tasks of a worker's claims that the database does not have (any more): the worker must stop
-- them. The worker calls this when a notification says that a task was cancelled, because anybody can send one.
--
-- A claim that stands in history as COMPLETED is not lost: a transactional task has ended itself (`finish_own`), and
-- the report of its child is on the way.
--
-- Planner settings: see docs/architecture.md.
-- Locks: none.
-- Called by: reconcile; queries/worker.py.
-- Granted to: worker.
create function horsies.lost_claims(asking_worker uuid, ids uuid[], exchanges bigint[]) returns setof uuid
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $function$
declare
    claim record;
begin
    -- History is read only for the few claims that are not live: in one statement it would be read for all of them.
    for claim in
        select held.id, held.exchange_no from unnest(ids, exchanges) as held (id, exchange_no)
        where not exists (select from horsies.tasks t
                          where t.id = any (array[held.id]) and t.worker_id = asking_worker
                            and t.exchange_no = held.exchange_no)
    loop
        perform from horsies.find_ended(claim.id) h
        where h.worker_id = asking_worker and h.exchange_no = claim.exchange_no and h.status = 'COMPLETED';
        if not found then
            return next claim.id;
        end if;
    end loop;
end
$function$;
