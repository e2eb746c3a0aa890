-- Purpose: Store outcomes in one step of `finish`: for each outcome whose fence still holds, retry, postpone or end
-- the task. Returns the ids that were accepted. A successful task costs one delete and one insert. Tasks whose row
-- another transaction holds are left out; all statements after the locks use only the rows that were locked.
-- Locks: root runs in the order of their ids; then task rows in the order of their ids, SKIP LOCKED. They are locked
-- here and not in `finish`: a row that is locked outside of a subtransaction and deleted inside needs a multixact,
-- which costs more than everything else.
-- Called by: finish, finish_each.
-- Granted to: nobody.
create function horsies.finish_batch(
    finishing_worker uuid, ids uuid[], exchanges bigint[], oks boolean[], results text[], codes text[],
    retry_afters double precision[], hostname text, pids int[], process_names text[], scopes text[],
    traces text[]
) returns uuid[]
language plpgsql as $function$
declare
    clock constant timestamptz := horsies.now();
    most_worker_deaths constant int := 5;      -- as in `reap`: such a task probably kills its workers
    locked uuid[];
    postponed_ids uuid[];
    retried_ids uuid[];
begin
    perform horsies.lock_roots(ids);
    locked := array(select t.id from horsies.tasks t where t.id = any (ids) order by t.id for update skip locked);
    if cardinality(locked) < cardinality(ids) then
        select array_agg(given.id), array_agg(given.exchange_no), array_agg(given.ok), array_agg(given.result),
               array_agg(given.code), array_agg(given.retry_after), array_agg(given.pid),
               array_agg(given.process_name), array_agg(given.scope), array_agg(given.trace)
        into ids, exchanges, oks, results, codes, retry_afters, pids, process_names, scopes, traces
        from unnest(ids, exchanges, oks, results, codes, retry_afters, pids, process_names, scopes, traces)
            as given (id, exchange_no, ok, result, code, retry_after, pid, process_name, scope, trace)
        where given.id = any (locked);
        if ids is null then
            return null;
        end if;
    end if;
    if scopes is not null then
        postponed_ids := horsies.postpone(
            finishing_worker, ids, exchanges, results, codes, retry_afters, scopes, clock);
    end if;
    if false = any (oks) then
        with failure as materialized (
            select t.id, horsies.public_part(given.result) as error, given.code, given.pid, given.process_name,
                   given.trace,
                   horsies.retry_at(t.retry_policy, t.attempt, given.code, given.retry_after, t.good_until, clock)
                       as due_again
            from unnest(ids, exchanges, oks, results, codes, retry_afters, pids, process_names, traces)
                as given (id, exchange_no, ok, result, code, retry_after, pid, process_name, trace)
            join horsies.tasks t on t.id = any (array[given.id])
            where t.worker_id = finishing_worker and t.exchange_no = given.exchange_no and t.status = 'RUNNING'
              and not given.ok and t.retry_policy is not null and t.worker_deaths < most_worker_deaths
        ),
        recorded as (
            insert into horsies.attempts
                (task_id, attempt, outcome, error, error_code, worker_id, exchange_no, worker_hostname, worker_pid,
                 worker_process_name, started_at, finished_at)
            select t.id, t.attempt, case when f.code = 'WORKER_CRASHED' then 'WORKER_FAILURE' else 'FAILED' end,
                   f.error, f.code, t.worker_id, t.exchange_no, hostname, f.pid, f.process_name, t.started_at, clock
            from failure f join horsies.tasks t on t.id = any (array[f.id])
            where f.due_again is not null
        ),
        retried as (
            update horsies.tasks t
            set status = 'PENDING', run_at = f.due_again, turn_key = null, worker_id = null, exchange_no = null,
                lease_until = null, claimed_at = null, started_at = null,
                trace_context = case when f.trace is null then t.trace_context
                                     else horsies.trace_with_attempt(t.trace_context, f.trace) end
            from failure f
            where t.id = any (array[f.id]) and f.due_again is not null
            returning t.id
        )
        select array_agg(retried.id) into retried_ids from retried;
    end if;
    return postponed_ids || retried_ids || horsies.move_to_history(
        ids, oks, 'FAILED', results, codes, array_fill(hostname, array[cardinality(ids)]), pids, process_names, clock,
        finishing_worker, exchanges, traces);
end
$function$;
