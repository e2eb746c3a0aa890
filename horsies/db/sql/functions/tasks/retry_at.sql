-- When a failed attempt is tried again; null: it is not. Only codes the policy names are retried, only while
-- retries are left, and never at or past the task's deadline. A `retry_after` (seconds) in the error overrides
-- the policy's delay. Delays: fixed, the interval of this attempt; exponential, base * 2^(attempt - 1), at most
-- `max_delay` where the policy has one; jitter is +-25 % of either, so that a crowd that failed together does not come back
-- together. Jitter never exceeds `max_delay`: at the cap the delays are spread over the 25 % below it.
-- Called by: finish_batch.
create function horsies.retry_at(
    policy json, failed_attempt int, code text, retry_after double precision, deadline timestamptz,
    clock timestamptz
) returns timestamptz
language plpgsql as $function$
declare
    delay double precision := retry_after;
    max_delay constant double precision := coalesce((policy ->> 'max_delay')::double precision, 'infinity');
    due timestamptz;
begin
    if policy is null or failed_attempt > (policy ->> 'max_retries')::int
       or not exists (select from json_array_elements_text(policy -> 'codes') as named (code)
                      where named.code = retry_at.code)
    then
        return null;
    end if;
    if delay is null then
        delay := case policy ->> 'strategy'
            when 'exponential' then (policy -> 'intervals' ->> 0)::double precision * 2 ^ (failed_attempt - 1)
            else (policy -> 'intervals' ->> (failed_attempt - 1))::double precision
        end;
        delay := least(delay, max_delay);
        if (policy ->> 'jitter')::boolean then
            delay := delay * 0.75 + random() * (least(delay * 1.25, max_delay) - delay * 0.75);
        end if;
    end if;
    due := clock + make_interval(secs => delay);
    return case when (due >= deadline) is not true then due end;
end
$function$;
