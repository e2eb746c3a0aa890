-- Purpose: Acquire or renew the leases by which one scheduler at a time leads each schedule. Returns the schedules
-- that the holder leads for the length of a lease from now on, unless it renews them before. No transaction stays open
-- between the calls, so nothing prevents the removal of dead rows, and no limit on transactions ends a lead.
--
-- A lease that ends later than a lease of this length could is free, too: the clock of the server was set back. If the
-- server crashes, the latest renewals may be lost; a lead is only ever lost by that.
--
-- Locks: the rows of the leases, in the order of their names.
-- Called by: queries/schedules.py.
-- Granted to: worker.
create function horsies.schedule_lead(wanted text[], new_holder uuid, lease interval) returns setof text
security definer set search_path = pg_catalog, pg_temp
language plpgsql as $function$
declare
    clock constant timestamptz := horsies.server_time();
begin
    perform horsies.relaxed();
    return query
    insert into horsies.schedule_leases as l (name, holder, until)
    select given.name, new_holder, clock + lease from unnest(wanted) as given (name) order by given.name
    on conflict (name) do update set holder = excluded.holder, until = excluded.until
    where l.holder = excluded.holder or l.until <= clock or l.until > clock + lease
    returning l.name;
end
$function$;
