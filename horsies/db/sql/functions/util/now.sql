-- The only clock: every time in the database is read here, never in Python.
-- A test switches `horsies_test.clock` on for its database and then moves time in the one-row table `clock`.
-- Called by: everything below.
create function horsies.now() returns timestamptz
language sql volatile as $function$
    select case
        when current_setting('horsies_test.clock', true) = 'on'
        then coalesce((select coalesce(frozen_at, clock_timestamp()) + shift from horsies.clock), clock_timestamp())
        else clock_timestamp()
    end
$function$;
