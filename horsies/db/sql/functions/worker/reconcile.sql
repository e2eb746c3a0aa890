-- Purpose: settle what a lost reply left open. A worker says which fences it holds; rows that are its own in the
-- database but that it does not know (the reply to the claim never came) go back to the queue, and the fences
-- it holds that the database lacks are returned: it must kill those tasks.
-- Only with no exchange of this worker in flight. An orphaned server process may still commit a claim later,
-- so it is called after each reconnect and again at every heartbeat.
-- Locks: task rows in the order of their ids. Called by: workers.
create function horsies.reconcile(asking_worker uuid, ids uuid[], exchanges bigint[]) returns setof uuid
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
          and not exists (select from unnest(ids, exchanges) as held (id, exchange_no)
                          where held.id = t.id and held.exchange_no = t.exchange_no)
        order by t.id for update
    ) as locked;
    perform horsies.notify_wake() where horsies.return_to_queue(unknown, false) > 0;
    return query
    select held.id from unnest(ids, exchanges) as held (id, exchange_no)
    where not exists (select from horsies.tasks t
                      where t.id = held.id and t.worker_id = asking_worker and t.exchange_no = held.exchange_no);
end
$function$;
