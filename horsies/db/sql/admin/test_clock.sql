-- Replaces the clock of tasks in a database of tests by one that the table `clock` moves.
create or replace function horsies.now() returns timestamptz
language sql volatile as $function$
    select coalesce(
        (select coalesce(c.frozen_at, clock_timestamp()) + c.shift from horsies.clock c), clock_timestamp())
$function$;
