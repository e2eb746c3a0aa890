-- Purpose: Postpone those of these tasks whose outcome has a scope, because their code answered with `RateLimited`
-- or `Snooze`: the attempt is given back as if it had not been claimed, so it costs no retry and its number stays, and
-- the task waits for `retry_after` seconds. Returns the ids that were postponed; null: none.
--
-- Nothing accumulates: the row keeps the last postponement, and how many there were. It also keeps the fence that was
-- given back, by which `finish` recognizes the same outcome if it comes again.
--
-- The task may become due after its deadline. It then waits for `expire` to end it.
-- Locks: none. The caller holds the task rows.
-- Called by: finish_batch.
-- Granted to: nobody.
create function horsies.postpone(
    finishing_worker uuid, ids uuid[], exchanges bigint[], results text[], codes text[],
    retry_afters double precision[], scopes text[], clock timestamptz
) returns uuid[]
language plpgsql as $function$
declare
    postponed_ids uuid[];
begin
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
        where t.id = given.id and t.worker_id = finishing_worker and t.exchange_no = given.exchange_no
          and t.status = 'RUNNING' and given.scope is not null
        returning t.id
    )
    select array_agg(postponed.id) into postponed_ids from postponed;
    return postponed_ids;
end
$function$;
