-- Purpose: take the lead of schedules, each of which is led by one scheduler at a time; returns those that were free.
-- They are held until the end of the transaction, which a scheduler leaves open and comes back to twice a second. One
-- that stays away for longer than `silence` loses its connection and so the lead, be it dead, stopped or cut off: an
-- advisory lock of the session would outlive a machine that vanishes, and gets lost in a PgBouncer in transaction mode.
-- The transaction has no id, and with each call a new snapshot, so it does not keep dead rows from being vacuumed.
-- Locks: advisory, until the end of the transaction, keyed by the schema and the name. Called by: schedulers.
create function horsies.schedule_lead(wanted text[], silence interval) returns setof text
language sql as $function$
    select set_config('idle_in_transaction_session_timeout', floor(extract(epoch from silence) * 1000)::text, true);
    select free from unnest(wanted) as free
    where pg_try_advisory_xact_lock(to_regclass('{horsies}.schedules')::oid::int, hashtext(free))
$function$;
