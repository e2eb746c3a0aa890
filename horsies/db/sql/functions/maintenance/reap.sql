-- Purpose: Recover the tasks of dead workers. A worker is dead if it is named in `proven_dead`: another process has
-- seen it die, or has seen it silent for too long (`reap_silent`). The clock of the server does not decide, because
-- it can be set. All claimed tasks without a living worker are then recovered; with null, only those. CLAIMED tasks
-- return to the queue. RUNNING tasks go through `finish` as a failed attempt with WORKER_CRASHED, so that recovery
-- uses the normal path and the retry policy decides.
--
-- A task that would return to the queue for the fifth time because its worker died before the task started is
-- probably the cause of the crashes. It also fails with WORKER_CRASHED, without a retry: `finish_batch` recognizes
-- it by its `worker_deaths`, and the row keeps its retry policy.
--
-- The tasks are searched in a separate statement after the workers were deleted, which sees every claim that was
-- committed before. Each call recovers at most `most` rows; call again while it recovers that many.
--
-- Planner settings: see docs/architecture.md.
-- Locks: worker rows; then root runs, then task rows, both in the order of their ids; all of them SKIP LOCKED. A later
-- call recovers the tasks that were skipped.
-- Called by: reap_silent, reap_stale; queries/worker.py.
-- Granted to: worker.
create function horsies.reap(proven_dead uuid, most int) returns table (workers int, returned int, crashed int)
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $function$
declare
    most_worker_deaths constant int := 5;
    dead_workers horsies.workers[];
    abandoned uuid[];                          -- claimed tasks without a living worker
    claims record;                             -- those of one dead worker
    dead_worker horsies.workers;
    crash_error constant text := horsies.task_error('WORKER_CRASHED', 'the worker that ran this task died')::text;
    too_many_deaths_error constant text := horsies.task_error('WORKER_CRASHED',
        most_worker_deaths || ' workers that had claimed this task died before it began')::text;
begin
    perform horsies.need_read_committed();
    with found as (
        select w.id from horsies.workers w where w.id = proven_dead for update skip locked
    ),
    deleted as (
        delete from horsies.workers w using found where w.id = found.id returning w as worker
    )
    select array_agg(deleted.worker) into dead_workers from deleted;
    workers := coalesce(cardinality(dead_workers), 0);
    insert into horsies.dead_workers
    select d.id, d.hostname, d.pid, d.process_name, d.library_version, d.started_at, d.heartbeat_at,
           horsies.server_time()
    from unnest(dead_workers) as d
    on conflict (id) do nothing;

    returned := 0;
    crashed := 0;
    abandoned := array(
        select t.id from horsies.tasks t
        where t.status <> 'PENDING' and not exists (select from horsies.workers w where w.id = t.worker_id)
        order by t.id limit most);
    if cardinality(abandoned) > 0 then
        abandoned := horsies.lock_free_roots(abandoned);
    end if;
    for claims in
        select locked.worker_id,
               coalesce(array_agg(locked.id) filter (where locked.returns_to_queue), '{}') as to_return,
               coalesce(array_agg(locked.id) filter (where locked.has_too_many_deaths), '{}') as too_many_deaths,
               coalesce(array_agg(locked.id) filter (where not locked.returns_to_queue), '{}') as to_fail,
               coalesce(array_agg(locked.exchange_no) filter (where not locked.returns_to_queue), '{}') as exchanges,
               array_agg(case when locked.has_too_many_deaths then too_many_deaths_error else crash_error end)
                   filter (where not locked.returns_to_queue) as errors
        from (
            select t.worker_id, t.id, t.exchange_no,
                   t.status = 'CLAIMED' and t.worker_deaths + 1 < most_worker_deaths as returns_to_queue,
                   t.status = 'CLAIMED' and t.worker_deaths + 1 >= most_worker_deaths as has_too_many_deaths
            from horsies.tasks t
            where t.id = any (abandoned) and t.worker_id is not null
              and not exists (select from horsies.workers w where w.id = t.worker_id)
            order by t.id
            for update skip locked
        ) as locked
        group by locked.worker_id
    loop
        -- If an earlier call found the worker dead, only its id is known, and the other columns are null.
        select d.* into dead_worker from unnest(dead_workers) as d where d.id = claims.worker_id;
        returned := returned + horsies.return_to_queue(claims.to_return, true);
        -- `finish` accepts an outcome only for a task that is RUNNING. A CLAIMED task that is to fail is therefore
        -- started first, like a task that fails after it has started; its attempt counts. The update also writes the
        -- last death, by which `finish_batch` recognizes that the task must not be retried.
        update horsies.tasks t
        set status = 'RUNNING', started_at = horsies.now(), attempt = t.attempt + 1,
            worker_deaths = t.worker_deaths + 1
        where t.id = any (claims.too_many_deaths);
        crashed := crashed + (
            select count(*) from horsies.finish(
                claims.worker_id, claims.to_fail, claims.exchanges,
                array_fill(false, array[cardinality(claims.to_fail)]),
                claims.errors,
                array_fill('WORKER_CRASHED'::text, array[cardinality(claims.to_fail)]),
                array_fill(null::double precision, array[cardinality(claims.to_fail)]),
                dead_worker.hostname, array_fill(dead_worker.pid, array[cardinality(claims.to_fail)]),
                array_fill(dead_worker.process_name, array[cardinality(claims.to_fail)])) as written
            where written.verdict = 'accepted');
        perform horsies.announce_ids('done', claims.to_fail);
    end loop;
    perform horsies.announce_wake() where returned + crashed > 0;
    return next;
end
$function$;
