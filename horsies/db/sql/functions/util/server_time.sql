-- Purpose: Return the real time of the server, by which workers are judged: heartbeats, leases and staleness. Tests of
-- users move only `now`, so that a moved clock does not make living workers look dead.
-- Locks: none.
-- Called by: every function that reads or writes heartbeats and leases.
-- Granted to: nobody.
create function horsies.server_time() returns timestamptz
language sql volatile as $function$
    select clock_timestamp()
$function$;
