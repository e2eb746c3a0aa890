-- Purpose: Elect the worker that performs maintenance. Returns false if another worker is performing it.
-- Locks: an advisory lock until the end of the transaction, keyed by the schema.
-- Called by: queries/worker.py.
-- Granted to: worker.
create function horsies.maintenance_lock() returns boolean
security definer set search_path = pg_catalog, pg_temp
language sql as $function$
    select pg_try_advisory_xact_lock(to_regclass('{horsies}.tasks')::oid::int, 1)
$function$;
