-- Purpose: Compare what a worker holds with what the database has recorded, after a reply was lost. The worker
-- passes the fences that it holds. Tasks that are claimed by this worker but missing in its list (the reply to the
-- claim never arrived) are returned to the queue. Fences that the database does not have are returned: the worker
-- must kill those tasks.
--
-- The worker must have no exchange in flight. An orphaned server process may commit a claim later, so workers call
-- this after each reconnect and at every heartbeat. An orphaned server process may also run this call itself late,
-- when the worker has claimed other tasks and runs them. Therefore the worker passes the number of the last exchange
-- that it had sent, and claims of later exchanges are left alone. (Null, from workers of older versions: all claims
-- count.)
--
-- Planner settings: see docs/architecture.md.
-- Locks: task rows in the order of their ids, SKIP LOCKED: a claim that another transaction holds is returned by a
-- later call.
-- Called by: queries/worker.py.
-- Granted to: worker.
create function horsies.reconcile(
    asking_worker uuid, ids uuid[], exchanges bigint[], last_exchange bigint default null
) returns setof uuid
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $function$
declare
    unknown uuid[];
begin
    perform horsies.need_read_committed();
    select array_agg(locked.id) into unknown
    from (
        select t.id from horsies.tasks t
        where t.worker_id = asking_worker and t.status <> 'PENDING'
          and (last_exchange is null or t.exchange_no <= last_exchange)
          and not exists (select from unnest(ids, exchanges) as held (id, exchange_no)
                          where held.id = t.id and held.exchange_no = t.exchange_no)
        order by t.id for update skip locked
    ) as locked;
    perform horsies.announce_wake() where horsies.return_to_queue(unknown, false) > 0;
    return query select * from horsies.lost_claims(asking_worker, ids, exchanges);
end
$function$;
