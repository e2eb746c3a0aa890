-- Purpose: Return the current time. This is the only clock: every time in the database comes from here, never from
-- Python. Tests enable `horsies_test.clock` for their database and then move time with the one-row table `clock`.
-- Locks: none.
-- Called by: every function that reads the time.
-- Granted to: nobody.
create function horsies.now() returns timestamptz
language sql volatile as $function$
    select case
        when current_setting('horsies_test.clock', true) = 'on'
        then coalesce((select coalesce(frozen_at, clock_timestamp()) + shift from horsies.clock), clock_timestamp())
        else clock_timestamp()
    end
$function$;
