-- Purpose: Store the outcomes of attempts. The verdict of each is 'accepted', 'duplicate' (the same outcome was
-- stored before, but its reply was lost), 'superseded' (the transaction of the task itself has completed the task, see
-- `finish_own`, and the failure was reported only because the answer to its commit was lost), 'stale' (the claim no
-- longer belongs to this worker, and nothing was stored) or 'busy' (another transaction holds the task's row or its
-- root run: nothing was stored, and the worker sends the outcome again later). The fence of a claim that was ended
-- otherwise, for example by `reap`, is in history too: only the same error code makes it a duplicate.
--
-- This call is also how the answer to a lost commit is looked up. If the fence is still there, the failure is stored
-- under the row lock, and a `finish_own` that an orphaned server process runs later raises. If that process still
-- holds the row, the verdict is 'busy'.
--
-- A batch is stored in one step. If the database refuses a row of it, or if a root run stays locked for a second, each
-- outcome is stored separately. The refused one ends as FAILED with WORKER_SERIALIZATION_ERROR and the server's
-- reason, and the others are not affected. Locked task rows are never waited for.
-- Returns for each outcome also the error code that was stored, and the time of the retry (null: no retry).
--
-- `scopes` has an item that is not null for each attempt that is postponed: see `postpone`. The row of the task
-- remembers the fence that was given back last, also in history, so that the same outcome is a duplicate afterwards.
--
-- `traces` has the `traceparent` of the span of each attempt, or null; null: no attempt has a span. The next attempt
-- at the task, or the tasks of dependent nodes, are linked to it.
--
-- Planner settings: see docs/architecture.md.
-- Locks: root runs in the order of their ids, for at most a second; then task rows in the order of their ids, SKIP
-- LOCKED.
-- Called by: reap; queries/worker.py.
-- Granted to: worker.
create function horsies.finish(
    finishing_worker uuid, ids uuid[], exchanges bigint[], oks boolean[], results text[], codes text[],
    retry_afters double precision[], hostname text, pids int[], process_names text[], scopes text[] default null,
    traces text[] default null
) returns table (id uuid, verdict text, stored_code text, due_again timestamptz)
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off set plan_cache_mode = force_generic_plan
set lock_timeout = '1s'
as $function$
declare
    accepted uuid[];
    refused uuid[];
begin
    perform horsies.durable();
    perform horsies.need_read_committed();
    begin
        accepted := horsies.finish_batch(finishing_worker, ids, exchanges, oks, results, codes, retry_afters,
                                         hostname, pids, process_names, scopes, traces);
    exception
        when data_exception or integrity_constraint_violation or program_limit_exceeded or lock_not_available then
            select each.accepted, each.refused into accepted, refused
            from horsies.finish_each(finishing_worker, ids, exchanges, oks, results, codes, retry_afters,
                                     hostname, pids, process_names, scopes, traces) as each;
    end;
    return query
    select answered.id, answered.verdict,
           case when answered.verdict = 'superseded' then null
                when answered.id = any (refused) then 'WORKER_SERIALIZATION_ERROR' else answered.code end,
           case when not answered.ok or answered.id = any (refused)
                then (select t.run_at from horsies.tasks t where t.id = any (array[answered.id])) end
    from (
        select given.id, given.ok, given.code, case
            when given.id = any (accepted) then 'accepted'
            when exists (select from horsies.tasks t
                         where t.id = any (array[given.id]) and t.worker_id = finishing_worker
                           and t.exchange_no = given.exchange_no and t.status = 'RUNNING') then 'busy'
            when exists (select from horsies.find_ended(given.id) h
                         where h.worker_id = finishing_worker and h.exchange_no = given.exchange_no
                           and (h.error_code is not distinct from given.code
                                or h.error_code = 'WORKER_SERIALIZATION_ERROR')) then 'duplicate'
            when given.scope is not null and exists (
                select from horsies.tasks t
                where t.id = any (array[given.id]) and t.postponed ->> 'worker_id' = finishing_worker::text
                  and (t.postponed ->> 'exchange_no')::bigint = given.exchange_no
                union all
                select from horsies.find_ended(given.id) h
                where h.postponed ->> 'worker_id' = finishing_worker::text
                  and (h.postponed ->> 'exchange_no')::bigint = given.exchange_no) then 'duplicate'
            when not given.ok and exists (select from horsies.find_ended(given.id) h
                                          where h.worker_id = finishing_worker
                                            and h.exchange_no = given.exchange_no
                                            and h.status = 'COMPLETED') then 'superseded'
            when exists (select from horsies.attempts a
                         where a.task_id = any (array[given.id]) and a.worker_id = finishing_worker
                           and a.exchange_no = given.exchange_no
                           and a.error_code in (given.code, 'WORKER_SERIALIZATION_ERROR')) then 'duplicate'
            else 'stale'
        end as verdict
        from unnest(ids, exchanges, oks, codes, scopes) as given (id, exchange_no, ok, code, scope)
    ) as answered;
end
$function$;
