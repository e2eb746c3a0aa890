-- Purpose: Start prefetched tasks: CLAIMED becomes RUNNING, which is committed before the code of the task runs.
-- Returns the tasks that may start, with the number of the attempt. Tasks that may no longer start, because they are
-- overdue or held or because their queue has been paused or limited, are returned to the queue. Tasks that no longer
-- belong to this worker, and those whose row another transaction holds, are left alone: `reconcile` returns the latter
-- to the queue.
-- Planner settings: see docs/architecture.md.
-- Locks: task rows in the order of their ids, SKIP LOCKED.
-- Called by: queries/worker.py.
-- Granted to: worker.
create function horsies.start(starting_worker uuid, ids uuid[], exchanges bigint[])
returns table (id uuid, attempt int)
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $function$
declare
    clock timestamptz;
    mine uuid[];
    open_names text[];
    regulated text[] := '{}';                       -- their tasks start by a claim only
begin
    perform horsies.durable();
    perform horsies.need_read_committed();
    select array_agg(locked.id) into mine
    from (
        select t.id from horsies.tasks t
        join unnest(ids, exchanges) as given (id, exchange_no)
            on t.id = any (array[given.id]) and given.exchange_no = t.exchange_no
        where t.worker_id = starting_worker and t.status = 'CLAIMED'
          and exists (select from horsies.workers w where w.id = starting_worker)
        order by given.id for update of t skip locked
    ) as locked;
    clock := horsies.now();
    select array_agg(c.name) into open_names
    from horsies.claimable(
        starting_worker, array(select t.queue from horsies.tasks t where t.id = any (mine)), 0) as c;
    if exists (select from horsies.queues) then
        regulated := array(
            select s.name
            from horsies.flow_settings(array(select t.queue from horsies.tasks t where t.id = any (mine))) as s);
    end if;
    return query
    update horsies.tasks t
    set status = 'RUNNING', attempt = t.attempt + 1, started_at = clock, lease_until = null
    where t.id = any (mine) and t.queue = any (open_names) and t.queue <> all (regulated) and not t.held
      and (t.good_until > clock) is not false
    returning t.id, t.attempt;
    perform horsies.announce_wake() where horsies.return_to_queue(
        array(select t.id from horsies.tasks t where t.id = any (mine) and t.started_at is null), false) > 0;
end
$function$;
