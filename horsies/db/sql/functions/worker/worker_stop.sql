-- Purpose: a worker leaves in good order. What it should still have in hand is handed on by the next reap.
-- Locks: its own row. Called by: workers, last thing.
create function horsies.worker_stop(leaving_worker uuid) returns void
language sql as $function$
    delete from horsies.workers w where w.id = leaving_worker
$function$;
