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
    dead horsies.workers[];
    abandoned uuid[];
    dead_claims record;
    its_worker horsies.workers;
    crash constant text := horsies.task_error('WORKER_CRASHED', 'the worker that ran this task died')::text;
    spent constant text := horsies.task_error('WORKER_CRASHED',
        most_worker_deaths || ' workers that had claimed this task died before it began')::text;
begin
    perform horsies.need_read_committed();
    with found as (
        select w.id from horsies.workers w where w.id = proven_dead for update skip locked
    ),
    gone as (
        delete from horsies.workers w using found where w.id = found.id returning w as worker
    )
    select array_agg(gone.worker) into dead from gone;
    workers := coalesce(cardinality(dead), 0);
    insert into horsies.dead_workers
    select d.id, d.hostname, d.pid, d.process_name, d.library_version, d.started_at, d.heartbeat_at, horsies.now()
    from unnest(dead) as d
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
    for dead_claims in
        select locked.worker_id,
               coalesce(array_agg(locked.id) filter (where locked.goes_back), '{}') as claimed,
               coalesce(array_agg(locked.id) filter (where locked.is_spent), '{}') as spent,
               coalesce(array_agg(locked.id) filter (where not locked.goes_back), '{}') as running,
               coalesce(array_agg(locked.exchange_no) filter (where not locked.goes_back), '{}') as exchanges,
               array_agg(case when locked.is_spent then spent else crash end)
                   filter (where not locked.goes_back) as errors
        from (
            select t.worker_id, t.id, t.exchange_no,
                   t.status = 'CLAIMED' and t.worker_deaths + 1 < most_worker_deaths as goes_back,
                   t.status = 'CLAIMED' and t.worker_deaths + 1 >= most_worker_deaths as is_spent
            from horsies.tasks t
            where t.id = any (abandoned) and t.worker_id is not null
              and not exists (select from horsies.workers w where w.id = t.worker_id)
            order by t.id
            for update skip locked
        ) as locked
        group by locked.worker_id
    loop
        -- Of a worker that an earlier call found dead, only the id is known.
        select d.* into its_worker from unnest(dead) as d where d.id = dead_claims.worker_id;
        returned := returned + horsies.return_to_queue(dead_claims.claimed, true);
        update horsies.tasks t
        set status = 'RUNNING', started_at = horsies.now(), attempt = t.attempt + 1,
            worker_deaths = t.worker_deaths + 1
        where t.id = any (dead_claims.spent);
        crashed := crashed + (
            select count(*) from horsies.finish(
                dead_claims.worker_id, dead_claims.running, dead_claims.exchanges,
                array_fill(false, array[cardinality(dead_claims.running)]),
                dead_claims.errors,
                array_fill('WORKER_CRASHED'::text, array[cardinality(dead_claims.running)]),
                array_fill(null::double precision, array[cardinality(dead_claims.running)]),
                its_worker.hostname, array_fill(its_worker.pid, array[cardinality(dead_claims.running)]),
                array_fill(its_worker.process_name, array[cardinality(dead_claims.running)])) as written
            where written.verdict = 'accepted');
        perform horsies.announce_ids('done', dead_claims.running);
    end loop;
    perform horsies.announce_wake() where returned + crashed > 0;
    return next;
end
$function$;
