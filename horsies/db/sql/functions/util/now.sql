-- Purpose: Return the time by which tasks are judged: when they are sent, due, started, finished and expired, and when
-- schedules are due. Every such time comes from here, never from Python. In the databases of `horsies.testing`, this
-- function is replaced by one that reads the table `clock`, so that tests can move the time.
-- Locks: none.
-- Called by: every function that reads the time of tasks.
-- Granted to: nobody.
create function horsies.now() returns timestamptz
language sql volatile as $function$
    select clock_timestamp()
$function$;
