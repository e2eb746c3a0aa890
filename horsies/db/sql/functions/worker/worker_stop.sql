-- Purpose: Deregister a worker, as its last call. The next `reap` recovers any task that it still holds.
-- Locks: the worker's row.
-- Called by: queries/worker.py.
create function horsies.worker_stop(leaving_worker uuid) returns void
language sql as $function$
    delete from horsies.workers w where w.id = leaving_worker
$function$;
