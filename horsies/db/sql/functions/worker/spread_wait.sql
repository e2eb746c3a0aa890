-- Purpose: Return how many seconds a worker waits for a token, or for the end of a hold: until `due`, and up to a
-- tenth of that longer, by chance, but at most 0.1 s. All workers that wait for the same instant would otherwise claim
-- at once, and take the lock of the queue one after the other. Null: nothing ends the wait.
-- Locks: none.
-- Called by: claim_from_queue, claim_in_turns, scheduled_wait.
-- Granted to: nobody.
create function horsies.spread_wait(due timestamptz, clock timestamptz) returns double precision
language sql volatile as $function$
    select wait.seconds + least(0.1, greatest(0, wait.seconds) / 10) * random()
    from (select case when isfinite(due) then extract(epoch from due - clock)::double precision end)
        as wait (seconds)
$function$;
