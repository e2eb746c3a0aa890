-- Purpose: Compute when a failed attempt is retried; null means that it is not. Only error codes that the policy
-- names are retried, only while retries are left, and never at or past the task's deadline. A `retry_after`
-- (seconds) in the error overrides the policy's delay. Fixed delay: the interval of this attempt. Exponential delay:
-- base * 2^(attempt - 1), at most `max_delay` if the policy has one. Jitter changes either by up to 25 % in both
-- directions, so that tasks that failed together are not all retried at the same time. Jitter never exceeds
-- `max_delay`: at that limit, delays are spread over the 25 % below it. A policy that cannot be read allows no retry.
-- Locks: none.
-- Called by: finish_batch.
-- Granted to: nobody.
create function horsies.retry_at(
    policy json, failed_attempt int, code text, retry_after double precision, deadline timestamptz,
    clock timestamptz
) returns timestamptz
language plpgsql as $function$
declare
    delay double precision := retry_after;
    max_delay double precision;
    due timestamptz;
begin
    if policy is null or failed_attempt > (policy ->> 'max_retries')::int
       or not exists (select from json_array_elements_text(policy -> 'codes') as named (code)
                      where named.code = retry_at.code)
    then
        return null;
    end if;
    max_delay := coalesce((policy ->> 'max_delay')::double precision, 'infinity');
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
exception when data_exception then
    return null;
end
$function$;
