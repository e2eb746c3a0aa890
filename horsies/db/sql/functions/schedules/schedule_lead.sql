-- Purpose: Acquire leadership of schedules, each of which is led by one scheduler at a time. Returns the schedules
-- that were free. Leadership lasts until the end of the transaction, which the scheduler keeps open and uses twice a
-- second. A scheduler that is idle for longer than `silence`, because it is dead, stopped or disconnected, loses its
-- connection and so its leadership. An advisory lock of the session would outlive a machine that disappears, and
-- would get lost with PgBouncer in transaction mode. The transaction has no id and takes a new snapshot at each
-- call, so it does not prevent the removal of dead rows.
-- Locks: advisory locks until the end of the transaction, keyed by the schema and the schedule's name.
-- Called by: queries/schedules.py.
-- Granted to: worker.
create function horsies.schedule_lead(wanted text[], silence interval) returns setof text
security definer set search_path = pg_catalog, pg_temp
language sql as $function$
    select set_config('idle_in_transaction_session_timeout', floor(extract(epoch from silence) * 1000)::text, true);
    select free from unnest(wanted) as free
    where pg_try_advisory_xact_lock(to_regclass('{horsies}.schedules')::oid::int, hashtext(free))
$function$;
