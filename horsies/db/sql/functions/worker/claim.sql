-- Purpose: Give up to `wanted` due tasks to a worker and mark them RUNNING, in the order of priority (1 first), due
-- time and id, across all queues of the worker. Only tasks whose name the worker has registered are taken. With
-- `lease_seconds`, the tasks are prefetched: they become CLAIMED for that time and must be passed to `start` before
-- they run.
--
-- Returns the tasks. If there are fewer than `wanted`, one last row without an id follows: its `due_in` is the
-- number of seconds until the next task of these queues falls due (null: none is scheduled), and its `capped` says
-- whether limits are active. `due_in` can be earlier than the truth, but never later: after a search by name it may
-- belong to a queue that the worker does not serve, and it is 0 if a limit was locked by another claim. A worker
-- without a row in `workers` has been declared dead and gets nothing. The task of a workflow node comes with its root
-- run and its inputs.
--
-- Limits: concurrency limits and pauses are checked only if a worker has declared limits or the table `queues` has
-- rows. A first check, without locks, leaves out queues that are paused or full. When candidates are found in queues
-- with limits, only the limits of these queues are locked, and counted in a later statement, whose snapshot includes
-- the claims of earlier lock holders. The function waits for such locks once; those that it needs later and that
-- another claim holds are left to the next claim, so that two claims never wait for each other. From queues with a
-- limit, only tasks that can start at once are taken (`free` of the `wanted`): a prefetched task would use up the
-- limit without running.
--
-- Search: the function visits the priorities that have waiting rows in order. Within a priority it reads the first due
-- rows without locks, a few more than it wants, and then locks the oldest of them (see `take`). If too few are left
-- and there are more rows, it doubles the number of rows to read. There are three ways to the rows, by three indexes:
--
--   queue            tasks_to_claim             one probe for each queue and priority: few queues, known names
--   name             tasks_by_name_and_priority one probe for each known name, once, and for each of its priorities
--                                               (`claim_heads`); only priorities with due rows are then visited
--   name_and_queue   tasks_by_name              one probe for each known name and open queue (`due_in_queues`)
--
-- A worker that serves few queues begins with `queue`. It continues by `name` when the rows of a priority mostly have
-- names that it does not know (tasks of another app at the head of the queue then cost one read), or when it has
-- visited so many empty priorities that the names are fewer. A worker that serves many queues begins with `name`. If
-- the due rows of its names are mostly in queues that are closed or that it does not serve, it reads the rows of this
-- priority by `name_and_queue`. The number of probes is therefore bounded by the known names and by their pairs with
-- priorities, and not by what is waiting under other names or in other queues.
--
-- The clock is read once into a variable: a volatile call in the WHERE clause would filter every scheduled row
-- instead of bounding the index scan. The planner cannot confuse the indexes, because the conditions for a waiting row
-- differ: `exchange_no is null` can be answered only by `tasks_by_name`, a status only by the other two, of which one
-- begins with the queue and one with the name.
--
-- With `singly`, each task is taken in a separate subtransaction (see `take_singly`). Workers ask for this after a row
-- made a claim fail.
--
-- Planner settings: see docs/architecture.md.
-- Locks: if limits are active, rows of `locks` until the end of the transaction: the cluster's, then the queues' in
-- the order of their names; then the task rows that are taken, SKIP LOCKED.
-- Called by: queries/worker.py.
-- Granted to: worker.
create function horsies.claim(
    claiming_worker uuid, exchange bigint, wanted int, free int, lease_seconds double precision, queue_names text[],
    known_names text[], singly boolean default false
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
    few_queues constant int := greatest(8, cardinality(known_names) / 25);
    most_probes constant int := greatest(200, cardinality(known_names));
    clock constant timestamptz := horsies.now();
    way text := case when cardinality(queue_names) > few_queues then 'name' else 'queue' end;
    probes int := 0;
    level smallint := 0;
    missing int := wanted;
    reach int;
    seen int;
    candidates uuid[];
    taken int;
    next_due timestamptz;
    level_due timestamptz;

    names_to_visit text[] := known_names;
    head_names text[];              -- by name: the heads that are due, in the order of priority and due time
    head_queues text[];
    head_levels smallint[];
    head_times timestamptz[];
    width int;                      -- how many priorities are visited together: 1, 2, 4, ...
    first_head int;                 -- the heads of these priorities
    last_head int;
    until_head int;
    latest timestamptz;

    limits_active boolean;
    is_limited boolean := false;
    cluster_limit int;
    open_names text[] := queue_names;
    limited_names text[];           -- the open queues with a limit, with `limits`
    limits int[];
    left_free int := free;
    held_locks text[];              -- null: this claim has not waited for locks yet
    needed_locks text[];
    touched text[];                 -- the queues of the candidates
    usable text[];                  -- those of them that have room, with `rooms`
    rooms int[];
    cluster_room int;
begin
    perform horsies.durable();
    perform horsies.need_read_committed();
    select w.caps is not null or w.cluster_cap is not null or exists (select from horsies.queues), w.cluster_cap
    into limits_active, cluster_limit
    from horsies.workers w where w.id = claiming_worker;
    if not found then
        return;
    end if;
    if limits_active then
        select coalesce(array_agg(c.name), '{}'),
               coalesce(array_agg(c.name) filter (where c.max_concurrency is not null), '{}'),
               array_agg(c.max_concurrency) filter (where c.max_concurrency is not null)
        into open_names, limited_names, limits
        from horsies.claimable(claiming_worker, queue_names, free) as c;
        is_limited := cluster_limit is not null or cardinality(limited_names) > 0;
    end if;

    <<priorities>>
    while missing > 0 and cardinality(open_names) > 0 loop
        if way = 'queue' and probes <= most_probes then
            select min(head.priority) into level
            from unnest(open_names) as q (name)
            cross join lateral (
                select t.priority from horsies.tasks t
                where t.queue = q.name and t.priority > level and t.status = 'PENDING' and not t.held
                order by t.priority limit 1
            ) as head;
            exit when level is null;
            probes := probes + 3 * cardinality(open_names);
        else
            way := case way when 'queue' then 'name' else way end;
            if head_names is null then
                select coalesce(array_agg(h.name order by h.priority, h.run_at)
                                    filter (where h.run_at <= clock), '{}'),
                       array_agg(h.queue order by h.priority, h.run_at) filter (where h.run_at <= clock),
                       array_agg(h.priority order by h.priority, h.run_at) filter (where h.run_at <= clock),
                       array_agg(h.run_at order by h.priority, h.run_at) filter (where h.run_at <= clock),
                       least(next_due, min(h.run_at) filter (where h.run_at > clock))
                into head_names, head_queues, head_levels, head_times, next_due
                from horsies.claim_heads(
                    names_to_visit, case when way = 'name_and_queue' then open_names end, level + 1) as h;
                last_head := 0;
                width := 1;
            end if;
            exit when last_head = cardinality(head_names);
            first_head := last_head + 1;
            select max(following.priority) into level
            from (select distinct h.priority from unnest(head_levels[first_head:]) as h (priority)
                  order by h.priority limit width) as following;
            select max(h.place) into last_head
            from unnest(head_levels) with ordinality as h (priority, place) where h.priority <= level;
            width := 2 * width;
        end if;

        reach := missing + slack;
        loop
            if way = 'queue' then
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
            else
                -- The oldest `reach` rows are among those of the first `reach` heads.
                until_head := least(last_head, first_head + reach - 1);
                latest := case when until_head < last_head and head_levels[first_head] = level
                               then head_times[until_head] else clock end;
                if way = 'name' then
                    select (array_agg(due.id order by due.priority, due.run_at, due.id)
                               filter (where due.queue = any (open_names) and (due.good_until > clock) is not false)
                           )[:reach], count(*)
                    into candidates, seen
                    from unnest(head_names[first_head:until_head], head_levels[first_head:until_head])
                        as h (name, priority)
                    cross join lateral (
                        select t.id, t.priority, t.run_at, t.queue, t.good_until from horsies.tasks t
                        where t.task_name = h.name and t.priority = h.priority and t.run_at <= latest
                          and t.status = 'PENDING' and not t.held
                        order by t.run_at, t.id limit reach
                    ) as due;
                else
                    select (array_agg(due.id order by due.priority, due.run_at, due.id)
                               filter (where due.queue = any (open_names) and (due.good_until > clock) is not false)
                           )[:reach], count(*)
                    into candidates, seen
                    from unnest(head_names[first_head:until_head], head_queues[first_head:until_head],
                                head_levels[first_head:until_head]) as h (name, queue, priority)
                    cross join lateral (
                        select t.id, t.priority, t.run_at, t.queue, t.good_until from horsies.tasks t
                        where t.task_name = h.name and t.queue = h.queue and t.priority = h.priority
                          and t.run_at <= latest and t.exchange_no is null and not t.held
                        order by t.run_at, t.id limit reach
                    ) as due;
                end if;
            end if;

            if seen >= reach and coalesce(cardinality(candidates), 0) < reach / 2 and way <> 'name_and_queue' then
                level := case way when 'queue' then level else head_levels[first_head] end - 1;
                if way = 'name' then
                    names_to_visit := array(select distinct h.name from unnest(head_names[first_head:]) as h (name));
                end if;
                way := case way when 'queue' then 'name' else 'name_and_queue' end;
                head_names := null;
                continue priorities;
            end if;
            if candidates is not null and is_limited then
                touched := array(
                    select t.queue from horsies.tasks t where t.id = any (candidates) group by t.queue);
                needed_locks := array(
                    select 'queue ' || q.name from unnest(touched) as q (name)
                    where q.name = any (limited_names) and 'queue ' || q.name <> all (coalesce(held_locks, '{}')));
                if held_locks is null and cluster_limit is not null then
                    needed_locks := needed_locks || 'cluster'::text;
                end if;
                if cardinality(needed_locks) > 0 then
                    held_locks := coalesce(held_locks, '{}')
                                  || horsies.lock_limits(needed_locks, may_wait => held_locks is null);
                    if not needed_locks <@ held_locks then
                        next_due := clock;
                        open_names := array(
                            select q.name from unnest(open_names) as q (name)
                            where 'queue ' || q.name <> all (needed_locks) or 'queue ' || q.name = any (held_locks));
                    end if;
                    continue;                       -- read again what earlier lock holders have left
                end if;
                select * into usable, rooms, cluster_room
                from horsies.limit_rooms(touched, limited_names, limits, cluster_limit, left_free);
                missing := case when cluster_room > 0 then least(missing, cluster_room) else missing end;
                candidates := horsies.within_caps(candidates, usable, rooms, left_free);
                open_names := array(
                    select q.name from unnest(open_names) as q (name)
                    where (cluster_room > 0) is not false and (q.name <> all (touched) or q.name = any (usable)));
            end if;
            if candidates is not null then
                if singly then
                    return query select * from horsies.take_singly(
                        claiming_worker, exchange, candidates, missing, clock, lease_seconds, usable, rooms);
                else
                    return query select * from horsies.take(
                        claiming_worker, exchange, candidates, missing, clock, lease_seconds, usable, rooms);
                end if;
                get diagnostics taken = row_count;
                missing := missing - taken;
                left_free := left_free - taken;
                if is_limited then
                    touched := usable;
                    select * into usable, rooms, cluster_room
                    from horsies.limit_rooms(touched, limited_names, limits, cluster_limit, left_free);
                    open_names := array(
                        select q.name from unnest(open_names) as q (name)
                        where (q.name <> all (touched) or q.name = any (usable))
                          and (left_free > 0 or cluster_limit is null and q.name <> all (limited_names)));
                end if;
            end if;
            exit when missing = 0 or seen < reach;
            reach := 2 * reach;
        end loop;

        if missing > 0 then
            if way = 'queue' then
                select min(due.run_at) into level_due
                from unnest(open_names) as q (name)
                cross join lateral (
                    select t.run_at from horsies.tasks t
                    where t.queue = q.name and t.priority = level and t.run_at > clock
                      and t.status = 'PENDING' and not t.held
                    order by t.run_at limit 1
                ) as due;
            else
                select min(due.run_at) into level_due
                from unnest(head_names[first_head:last_head], head_levels[first_head:last_head]) as h (name, priority)
                cross join lateral (
                    select t.run_at from horsies.tasks t
                    where t.task_name = h.name and t.priority = h.priority and t.run_at > clock
                      and t.status = 'PENDING' and not t.held
                    order by t.run_at limit 1
                ) as due;
            end if;
            next_due := least(next_due, level_due);
        end if;
    end loop;
    if missing > 0 then
        return query select null::uuid, null::text, null::json, null::int, null::int, null::text, limits_active,
                            null::uuid, null::json,
                            case when isfinite(next_due)
                                 then extract(epoch from next_due - clock)::double precision end;
    end if;
end
$function$;
