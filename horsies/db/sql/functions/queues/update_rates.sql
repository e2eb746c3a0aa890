-- Purpose: Bring `rates` up to date after settings of a queue have changed. A bucket stores up to which position of
-- the stream of tokens it has used them, which means the same before and after a change of the rate. So a change
-- writes one row, however many buckets there are: tokens that were used do not come back, those that are left stay, up
-- to the new burst, and from now on the stream grows with the new rate.
--
-- A bucket that was full at the change has as many tokens as the old burst: the stream before `full_from` is lost to
-- all buckets. Without a rate, nothing is known about starts, and a rate that begins finds all buckets full: the
-- stream grows by as many tokens as the largest possible burst.
-- Locks: rows of `rates`. The caller holds the lock of the queue.
-- Called by: declare_queues, limit_queue.
-- Granted to: nobody.
create function horsies.update_rates(queue_name text) returns void
language plpgsql as $function$
declare
    token constant numeric := 1000000000;
    most_tokens constant int := 1000000;            -- the largest burst that `limit_queue` and `RateLimit` allow
    clock constant timestamptz := horsies.now();
    settings record;
    wanted record;
    known record;
    present record;
begin
    select f.token_us, f.burst, f.key_token_us, f.key_burst into settings
    from horsies.flow_settings(array[queue_name]) f;
    for wanted in
        select w.* from (values ('queue', settings.token_us, settings.burst),
                                ('key', settings.key_token_us, settings.key_burst)) as w (scope, token_us, burst)
    loop
        select r.* into known from horsies.rates r where r.queue = queue_name and r.scope = wanted.scope;
        wanted.burst := case when wanted.token_us is not null then wanted.burst end;
        continue when known.token_us is not distinct from wanted.token_us
                      and known.burst is not distinct from wanted.burst;
        select r.* into present from horsies.rate_at(queue_name, wanted.scope, clock) r;
        if present.produced is not null then
            update horsies.rates r
            set token_us = wanted.token_us, burst = wanted.burst, changed_at = clock,
                produced = present.produced, lost_to = present.full_from
            where r.queue = queue_name and r.scope = wanted.scope;
        else
            insert into horsies.rates as r (queue, scope, token_us, burst, changed_at, produced, lost_to)
            values (queue_name, wanted.scope, wanted.token_us, wanted.burst, clock, 0, -wanted.burst * token)
            on conflict (queue, scope) do update
            set token_us = wanted.token_us, burst = wanted.burst, changed_at = clock,
                produced = r.produced + most_tokens * token,
                lost_to = r.produced + (most_tokens - wanted.burst) * token;
        end if;
    end loop;
end
$function$;
