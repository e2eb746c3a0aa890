-- Purpose: one worker at a time does the duties. False: another one is at them.
-- Locks: advisory, until the end of the transaction, keyed by the schema. Called by: duties of any worker.
create function horsies.maintenance_lock() returns boolean
language sql as $function$
    select pg_try_advisory_xact_lock(to_regclass('{horsies}.tasks')::oid::int, 1)
$function$;
