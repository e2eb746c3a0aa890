-- Purpose: Keep the tokens in the buckets of a queue whose rates have changed. The arguments are its rates before, as
-- `flow_settings` returns them. A bucket is stored as the time when it will be full, which means another number of
-- tokens by another rate: an empty bucket would have tokens again after a rate was lowered, and none for a long time
-- after it was raised. A bucket keeps its whole tokens, at most as many as the new rate allows. Without a rate, before
-- or now, nothing is known about past starts, and the buckets are full.
-- Locks: rows of buckets. The caller holds the lock of the queue.
-- Called by: declare_queues, limit_queue.
-- Granted to: nobody.
create function horsies.keep_tokens(
    queue_name text, old_token_us bigint, old_burst int, old_key_token_us bigint, old_key_burst int
) returns void
language plpgsql as $function$
declare
    clock constant timestamptz := horsies.now();
    settings record;
    rates record;
begin
    select f.token_us, f.burst, f.key_token_us, f.key_burst into settings
    from horsies.flow_settings(array[queue_name]) f;
    for rates in
        values ('queue', old_token_us, old_burst, settings.token_us, settings.burst),
               ('key', old_key_token_us, old_key_burst, settings.key_token_us, settings.key_burst)
    loop
        continue when (rates.column2, rates.column3) is not distinct from (rates.column4, rates.column5);
        delete from horsies.buckets b
        where b.queue = queue_name and b.scope = rates.column1
          and (b.full_at <= clock or rates.column2 is null or rates.column4 is null);
        update horsies.buckets b
        set full_at = clock + make_interval(secs => rates.column4 / 1000000.0 * greatest(
                0, rates.column5 - horsies.tokens_left(b.full_at, clock, rates.column2, rates.column3)))
        where b.queue = queue_name and b.scope = rates.column1;
    end loop;
end
$function$;
