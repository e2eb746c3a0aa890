-- Replaces the clock of tasks in a database of tests by one that the table `clock` moves. RELEASE stands for the
-- release of the schema: a test run recognizes a database by it that it need not migrate.
create or replace function horsies.now() returns timestamptz
language sql volatile as $function$-- RELEASE
    select coalesce(
        (select coalesce(c.frozen_at, clock_timestamp()) + c.shift from horsies.clock c), clock_timestamp())
$function$;
