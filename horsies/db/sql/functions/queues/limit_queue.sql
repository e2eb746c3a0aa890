-- Purpose: Set limits of a queue at run time, in place of those that the apps declare: how many tasks of one key may
-- run at the same time (`per_key`), the rate of the queue, and the rate of each key, as JSON objects. `changed` names
-- those to change, 'per_key', 'rate' or 'rate_per_key'; null restores the declared value. Those that are also in
-- `lifted` become unlimited, whatever the apps declare. Records who has done it, and when. Returns 'changed',
-- 'unchanged', or 'not keyed': limits of keys need a queue whose app declares keys.
-- Raises 22023 for a rate that is not an object as `RateLimit` writes it: claims divide by its numbers.
-- Locks: the lock of the queue, so that a claim applies the old limits or the new ones; then the queue's row, and its
-- rows of `rates`.
-- Called by: queries/limits.py.
-- Granted to: operator.
create function horsies.limit_queue(
    queue_name text, changed text[], per_key int, rate json, rate_per_key json, set_by text,
    lifted text[] default '{}'
) returns text
security definer set search_path = pg_catalog, pg_temp
language plpgsql as $function$
declare
    before text;
    verdict text;
    given json;
    whole constant text := '^[0-9]{1,7}$';
    positive constant text := '^[0-9]{1,7}([.][0-9]{1,200})?([eE][+-]?[0-9]{1,2})?$';
    most_tokens constant int := 1000000;
    longest_period_s constant int := 2678400;
begin
    perform horsies.need_read_committed();
    foreach given in array array[rate, rate_per_key] loop
        -- The conditions of a CASE are evaluated in order, so nothing is cast that is not a number.
        if not (case when given is null then true
                     when json_typeof(given) <> 'object' then false
                     when json_typeof(given -> 'limit') is distinct from 'number'
                          or json_typeof(given -> 'burst') is distinct from 'number'
                          or json_typeof(given -> 'per_seconds') is distinct from 'number' then false
                     when given ->> 'limit' !~ whole or given ->> 'burst' !~ whole
                          or given ->> 'per_seconds' !~ positive then false
                     else (given ->> 'limit')::int between 1 and most_tokens
                          and (given ->> 'burst')::int between 1 and most_tokens
                          and (given ->> 'per_seconds')::numeric > 0
                          and (given ->> 'per_seconds')::numeric <= longest_period_s end) then
            raise exception 'the rate % cannot be set for queue %', left(given::text, 200), queue_name
                using errcode = 'invalid_parameter_value',
                      hint = 'pass an object such as {"limit": 100, "per_seconds": 60, "burst": 10}: limit and burst '
                             'are whole numbers from 1 to 1000000, per_seconds is above 0 and at most 2678400';
        end if;
    end loop;
    lifted := coalesce(lifted, '{}');
    changed := array(select unnest(changed) union select unnest(lifted));
    per_key := case when 'per_key' <> all (lifted) then per_key end;
    rate := case when 'rate' <> all (lifted) then rate end;
    rate_per_key := case when 'rate_per_key' <> all (lifted) then rate_per_key end;
    perform horsies.lock_limits(array['queue ' || queue_name], true);
    if (per_key is not null or rate_per_key is not null or lifted && array['per_key', 'rate_per_key'])
       and not exists (select from horsies.queues q where q.name = queue_name and q.turns = 'on') then
        return 'not keyed';
    end if;
    select (q.max_concurrency_per_key, q.rate_limit::text, q.rate_limit_per_key::text, q.lifted_limits)::text
    into before from horsies.queues q where q.name = queue_name;
    insert into horsies.queues as q (name, max_concurrency_per_key, rate_limit, rate_limit_per_key, lifted_limits)
    values (queue_name, per_key, rate, rate_per_key, lifted)
    on conflict (name) do update
    set max_concurrency_per_key =
            case when 'per_key' = any (changed) then per_key else q.max_concurrency_per_key end,
        rate_limit = case when 'rate' = any (changed) then rate else q.rate_limit end,
        rate_limit_per_key =
            case when 'rate_per_key' = any (changed) then rate_per_key else q.rate_limit_per_key end,
        lifted_limits = array(
            select l.name from (
                select unnest(q.lifted_limits) except select unnest(changed) union select unnest(lifted)
            ) as l (name) order by l.name);
    update horsies.queues q
    set limits_set_by = left(coalesce(set_by, session_user), 200), limits_set_at = horsies.now()
    where q.name = queue_name
      and (q.max_concurrency_per_key, q.rate_limit::text, q.rate_limit_per_key::text, q.lifted_limits)::text
          is distinct from coalesce(before, (null::int, null::text, null::text, '{}'::text[])::text);
    verdict := case when found then 'changed' else 'unchanged' end;
    perform horsies.update_rates(queue_name);
    perform horsies.record_action(set_by, 'queue.limit', array[queue_name], json_object_agg(limits.name,
        case when limits.name = any (lifted) then to_json('none'::text)
             when limits.name = 'per_key' then to_json(per_key) when limits.name = 'rate' then rate
             else rate_per_key end))
    from unnest(changed) as limits (name) where verdict = 'changed' having count(*) > 0;
    perform horsies.forget_queue(queue_name);
    perform horsies.announce_wake() where verdict = 'changed';
    return verdict;
end
$function$;
