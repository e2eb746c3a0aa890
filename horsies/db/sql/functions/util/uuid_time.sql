-- Purpose: Return the time inside a UUIDv7 (its first 48 bits are milliseconds since 1970). It tells where to begin
-- a search in history.
-- Locks: none.
-- Called by: find_ended, health.
-- Granted to: nobody.
create function horsies.uuid_time(id uuid) returns timestamptz
language sql immutable as $function$
    select to_timestamp(('x' || lpad(left(replace(id::text, '-', ''), 12), 16, '0'))::bit(64)::bigint / 1000.0)
$function$;
