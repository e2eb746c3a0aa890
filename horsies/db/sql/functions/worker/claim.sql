-- Purpose: Give up to `wanted` due tasks to a worker and mark them RUNNING, in the order of priority (1 first), due
-- time and id, across all queues of the worker. Only tasks whose name the worker has registered are taken. With
-- `lease_seconds`, the tasks are prefetched: they become CLAIMED for that time and must be passed to `start` before
-- they run.
--
-- Returns the tasks. If there are fewer than `wanted`, one last row without an id follows: its `due_in` is the
-- number of seconds until the next task of these queues falls due (null: none is scheduled), and its `capped` says
-- whether limits are active. A worker without a row in `workers` has been declared dead and gets nothing. The task
-- of a workflow node comes with its root run and its inputs.
--
-- Limits: concurrency limits and pauses are checked only if a worker has declared limits or the table `queues` has
-- rows. A first check, without locks, leaves out queues that are paused or full. The limits of the other queues are
-- then locked, and counted in a later statement, whose snapshot includes the claims of earlier lock holders. From
-- queues with a limit, only tasks that can start at once are taken (`free` of the `wanted`): a prefetched task would
-- use up the limit without running.
--
-- Search: a skip scan visits the priorities that have waiting rows in order; each step probes the index
-- `tasks_to_claim` once per queue. Within a priority, the function reads the first rows of each queue without locks,
-- a few more than it wants, and then locks the oldest of them. It skips rows that other workers have locked and rows
-- that have changed since they were read. If too few are left and there are more rows, it doubles the number of rows
-- to read. If it read mostly names that the worker does not know, it searches by name instead, with one probe of
-- `tasks_by_name` for each known name: tasks of another app at the head of the queue then cost one read.
--
-- The condition for a waiting row is `worker_id is null`, which a constraint makes equivalent to PENDING. A
-- condition on the status would let the planner use partial indexes where it should fetch rows by their ids. The
-- search by name uses `exchange_no is null`, which only `tasks_by_name` can answer.
--
-- The clock is read once into a variable: a volatile call in the WHERE clause would filter every scheduled row
-- instead of bounding the index scan.
--
-- Planner settings: see docs/architecture.md.
-- Locks: if limits are active, advisory locks until the end of the transaction: the cluster's, then the queues' in
-- the order of their keys; then the task rows that are taken, SKIP LOCKED.
-- Called by: queries/worker.py.
-- Granted to: worker.
create function horsies.claim(
    claiming_worker uuid, exchange bigint, wanted int, free int, lease_seconds double precision, queue_names text[],
    known_names text[]
) returns table (
    id uuid, task_name text, args json, attempt int, timeout_ms int, queue text, capped boolean, root_id uuid,
    inputs json, due_in double precision
)
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set enable_sort = off set jit = off set plan_cache_mode = force_generic_plan
as $function$
declare
    slack constant int := 50;
    most_inputs constant int := 65536;              -- bytes for one task
    clock constant timestamptz := horsies.now();
    level smallint := 0;
    missing int := wanted;
    reach int;
    by_name boolean;
    seen int;
    candidates uuid[];
    taken int;
    level_due timestamptz;
    next_due timestamptz;
    limits_active boolean;
    open_names text[] := queue_names;
    rooms int[];
    capped_names text[] := '{}';
    left_free int := free;
    key_of_cluster constant int := -2147483648;     -- sorts before the keys of queues
    keys int[];
    lock_key int;
begin
    perform horsies.durable();
    perform horsies.need_read_committed();
    select w.caps is not null or w.cluster_cap is not null or exists (select from horsies.queues) into limits_active
    from horsies.workers w where w.id = claiming_worker;
    if not found then
        return;
    end if;
    if limits_active then
        select array_agg(c.name), array_agg(hashtext(c.name)) filter (where c.room is not null)
                   || case when min(c.cluster_room) is not null then key_of_cluster end
        into open_names, keys
        from horsies.claimable(claiming_worker, queue_names, free) as c;
        for lock_key in select distinct key from unnest(keys) as key where key is not null order by key loop
            perform pg_advisory_xact_lock(to_regclass('{horsies}.tasks')::oid::int, lock_key);
        end loop;
        select coalesce(array_agg(c.name), '{}'), array_agg(c.room), least(missing, min(c.cluster_room)),
               coalesce(array_agg(c.name) filter (where c.room is not null), '{}')
        into open_names, rooms, missing, capped_names
        from horsies.claimable(claiming_worker, open_names, free) as c;
    end if;
    while missing > 0 loop
        select min(head.priority) into level
        from unnest(open_names) as q (name)
        cross join lateral (
            select t.priority from horsies.tasks t
            where t.queue = q.name and t.priority > level and t.status = 'PENDING' and not t.held
            order by t.priority limit 1
        ) as head;
        exit when level is null;

        reach := missing + slack;
        by_name := false;
        loop
            if by_name then
                select array_agg(due.id order by due.run_at, due.id)
                           filter (where (due.good_until > clock) is not false), count(*)
                into candidates, seen
                from unnest(known_names) as k (name)
                cross join unnest(open_names) as q (name)
                cross join lateral (
                    select t.id, t.run_at, t.good_until from horsies.tasks t
                    where t.task_name = k.name and t.queue = q.name and t.priority = level and t.run_at <= clock
                      and t.exchange_no is null and not t.held
                    order by t.run_at, t.id limit reach
                ) as due;
            else
                select array_agg(due.id order by due.run_at, due.id)
                           filter (where due.task_name = any (known_names) and (due.good_until > clock) is not false),
                       count(*)
                into candidates, seen
                from unnest(open_names) as q (name)
                cross join lateral (
                    select t.id, t.run_at, t.task_name, t.good_until from horsies.tasks t
                    where t.queue = q.name and t.priority = level and t.run_at <= clock
                      and t.status = 'PENDING' and not t.held
                    order by t.run_at, t.id limit reach
                ) as due;
            end if;

            by_name := by_name or coalesce(cardinality(candidates), 0) < reach / 2;
            if cardinality(capped_names) > 0 then
                candidates := horsies.within_caps(candidates, open_names, rooms, left_free);
            end if;
            if candidates is not null then
                return query
                with locked as materialized (
                    select t.id, oldest.place
                    from unnest(candidates) with ordinality as oldest (id, place)
                    join horsies.tasks t on t.id = oldest.id
                    where t.worker_id is null and not t.held and t.priority = level and t.run_at <= clock
                    order by oldest.place limit missing
                    for update of t skip locked
                ),
                claimed as (
                    update horsies.tasks t
                    set status = case when lease_seconds is null then 'RUNNING' else 'CLAIMED' end,
                        worker_id = claiming_worker, exchange_no = exchange, claimed_at = clock,
                        attempt = t.attempt + (lease_seconds is null)::int,
                        started_at = case when lease_seconds is null then clock end,
                        lease_until = clock + make_interval(secs => lease_seconds)
                    from locked where t.id = locked.id
                    returning t.id, t.task_name, t.args, t.attempt, t.timeout_ms, t.queue, t.root_id,
                              t.workflow_id, t.node_index, locked.place
                )
                select c.id, c.task_name, c.args, c.attempt, c.timeout_ms, c.queue, c.queue = any (capped_names),
                       c.root_id, case when c.root_id is not null then
                           horsies.workflow_inputs(c.workflow_id, c.node_index, most_inputs) end,
                       null::double precision
                from claimed c order by c.place;
                get diagnostics taken = row_count;
                missing := missing - taken;
                left_free := left_free - taken;
                if cardinality(capped_names) > 0 then
                    select coalesce(array_agg(c.name), '{}'), array_agg(c.room) into open_names, rooms
                    from horsies.claimable(claiming_worker, open_names, left_free) as c;
                end if;
            end if;
            exit when missing = 0 or seen < reach;
            reach := 2 * reach;
        end loop;

        if missing > 0 then
            select min(due.run_at) into level_due
            from unnest(open_names) as q (name)
            cross join lateral (
                select t.run_at from horsies.tasks t
                where t.queue = q.name and t.priority = level and t.run_at > clock
                  and t.status = 'PENDING' and not t.held
                order by t.run_at limit 1
            ) as due;
            next_due := least(next_due, level_due);
        end if;
    end loop;
    if missing > 0 then
        return query select null::uuid, null::text, null::json, null::int, null::int, null::text, limits_active,
                            null::uuid, null::json, extract(epoch from next_due - clock)::double precision;
    end if;
end
$function$;
