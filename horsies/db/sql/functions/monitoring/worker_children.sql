-- Purpose: Return what each worker has said about its children with its last heartbeat, and its version of the app.
-- `children` is null for workers of older releases, and until the first heartbeat. Its format is that of `heartbeat`.
-- Locks: none.
-- Called by: queries/monitoring.py.
-- Granted to: viewer, operator.
create function horsies.worker_children() returns table (id uuid, app_version text, children json)
security definer set search_path = pg_catalog, pg_temp
language sql stable as $function$
    select w.id, w.app_version, w.children from horsies.workers w
$function$;
