-- Purpose: Postpone those of these tasks whose outcome has a scope, because their code answered with `RateLimited`
-- or `Snooze`: the attempt is given back as if it had not been claimed, so it costs no retry and its number stays, and
-- the task waits for `retry_after` seconds. With the scope 'queue', nothing of its queue starts until then, and with
-- 'key' nothing of its key, unless the task has no key or its queue is not keyed. Returns the ids that were postponed;
-- null: none.
--
-- Nothing accumulates: the row keeps the last postponement, and how many there were. It also keeps the fence that was
-- given back, by which `finish` recognizes the same outcome if it comes again.
--
-- A task that would become due at its deadline or later can never start. It ends as EXPIRED at once.
-- Locks: those of `hold`. The caller holds the task rows.
-- Called by: finish_batch.
-- Granted to: nobody.
create function horsies.postpone(
    finishing_worker uuid, ids uuid[], exchanges bigint[], results text[], codes text[],
    retry_afters double precision[], scopes text[], clock timestamptz
) returns uuid[]
language plpgsql as $function$
declare
    postponed_ids uuid[];
    overdue uuid[];
    expiry constant json := horsies.task_error(
        'TASK_EXPIRED', 'the task was postponed to a time at which its good_until has passed');
    held_queues text[];
    held_scopes text[];
    held_keys text[];
    ends timestamptz[];
    limited text[];
    reasons text[];
begin
    scopes := array(
        select case when given.scope = 'key' and (t.task_key is null or q.name is null) then 'task'
                    else given.scope end
        from unnest(ids, scopes) with ordinality as given (id, scope, place)
        left join horsies.tasks t on t.id = any (array[given.id])
        left join horsies.queues q on q.name = t.queue and q.turns = 'on'
        order by given.place);
    select array_agg(wanted.queue), array_agg(wanted.scope), array_agg(wanted.key), array_agg(wanted.until),
           array_agg(wanted.who), array_agg(wanted.reason)
    into held_queues, held_scopes, held_keys, ends, limited, reasons
    from (
        select t.queue, given.scope, case when given.scope = 'key' then t.task_key else '' end as key,
               clock + make_interval(secs => given.retry_after) as until, 'task ' || t.id as who,
               given.result::json ->> 'message' as reason
        from unnest(ids, exchanges, results, retry_afters, scopes)
            as given (id, exchange_no, result, retry_after, scope)
        join horsies.tasks t on t.id = any (array[given.id])
        where t.worker_id = finishing_worker and t.exchange_no = given.exchange_no and t.status = 'RUNNING'
          and given.scope in ('key', 'queue') and given.retry_after > 0
    ) as wanted;
    if held_queues is not null then
        perform horsies.hold(held_queues, held_scopes, held_keys, 'rate_limited', ends, limited, reasons, clock);
    end if;
    with postponed as (
        update horsies.tasks t
        set status = 'PENDING', run_at = clock + make_interval(secs => given.retry_after), worker_id = null,
            exchange_no = null, lease_until = null, claimed_at = null, started_at = null, attempt = t.attempt - 1,
            turn_key = null,
            postponed = json_build_object(
                'code', given.code, 'scope', given.scope, 'message', given.result::json ->> 'message', 'at', clock,
                'until', clock + make_interval(secs => given.retry_after),
                'count', coalesce((t.postponed ->> 'count')::int, 0) + 1,
                'worker_id', t.worker_id, 'exchange_no', t.exchange_no)
        from unnest(ids, exchanges, results, codes, retry_afters, scopes)
            as given (id, exchange_no, result, code, retry_after, scope)
        where t.id = any (array[given.id]) and t.worker_id = finishing_worker and t.exchange_no = given.exchange_no
          and t.status = 'RUNNING' and given.scope is not null
        returning t.id, t.good_until <= t.run_at as is_overdue
    )
    select array_agg(p.id), array_agg(p.id order by p.id) filter (where p.is_overdue) into postponed_ids, overdue
    from postponed p;
    if overdue is not null then
        perform horsies.end_tasks(overdue, 'EXPIRED', expiry, 'TASK_EXPIRED', clock);
    end if;
    return postponed_ids;
end
$function$;
