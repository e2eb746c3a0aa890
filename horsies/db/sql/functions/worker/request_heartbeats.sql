-- Purpose: Ask all workers for a heartbeat now, and return the time of the server: each heartbeat that is later is an
-- answer. A worker answers once a second at most, because every role that can connect can notify.
-- Locks: none.
-- Called by: queries/monitoring.py.
-- Granted to: viewer, operator.
create function horsies.request_heartbeats() returns timestamptz
security definer set search_path = pg_catalog, pg_temp
language plpgsql as $function$
begin
    perform pg_notify('{horsies}.ping', '');
    return horsies.server_time();
end
$function$;
