-- Purpose: Deregister a worker, as its last call. The next `reap` recovers any task that it still holds.
-- Locks: the worker's row.
-- Called by: queries/worker.py.
-- Granted to: worker.
create function horsies.worker_stop(leaving_worker uuid) returns void
security definer set search_path = pg_catalog, pg_temp
language sql as $function$
    delete from horsies.workers w where w.id = leaving_worker
$function$;
