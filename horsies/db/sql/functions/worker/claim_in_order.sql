-- Purpose: Do what `claim` does, for queues that are not regulated: give up to `wanted` due tasks to a worker and
-- mark them RUNNING, in the order of priority (1 first), due time and id, across all these queues. Only priorities
-- after `after_priority`, up to `last_priority`, are searched. `has_settings` says that `queues` has rows for them,
-- and `may_wait` whether the claim may wait for locks of limits. Only tasks whose name the worker has registered are
-- taken. With `lease_seconds`, the tasks are prefetched: they become CLAIMED for that time and must be passed to
-- `start` before they run.
--
-- Returns the tasks; `capped` says whether a limit applies to the task. The task of a workflow node comes with its
-- root run and its inputs. If there are fewer tasks than `wanted`, one last row without an id follows. Its `due_in`
-- is the number of seconds until the next task of these queues falls due (null: none is scheduled), and its `capped`
-- says whether limits are active. `due_in` can be earlier than the truth, but never later: after a search by name it
-- may belong to a queue that the worker does not serve, and it is 0 if a limit was locked by another claim. A worker
-- without a row in `workers` has been declared dead and gets nothing.
--
-- Steps, as numbered in the code:
--
--    1  find the worker, and whether limits are active
--    2  leave out paused and full queues
--    ┌> 3  choose the next priorities                       if none are left: go to step 10
--    │  ┌> 4  read the oldest due rows, without locks
--    │  │  5  change the way of searching                    if most rows were unusable: go to step 3
--    │  │  6  lock and count the limits of their queues      if locks were needed: go to step 4
--    │  │  7  take the rows
--    │  └─ 8  read twice as many rows                        if more are needed and there may be more
--    └─ 9  note when the next scheduled task falls due       if more are needed
--   10  return the last row                                 if more are needed
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
--   name_and_queue   tasks_by_name              the same for each known name and open queue
--
-- A worker that serves few queues begins with `queue`. It continues by `name` when the rows of a priority mostly have
-- names that it does not know (tasks of another app at the head of the queue then cost one read), or when it has
-- visited so many empty priorities that the names are fewer. A worker that serves many queues begins with `name`. If
-- the due rows of its names are mostly in queues that are closed or that it does not serve, it reads the rows of this
-- priority by `name_and_queue`. The number of probes is therefore bounded by the known names and by their pairs with
-- priorities, and not by what is waiting under other names or in other queues.
--
-- A search by queue reads the rows of a priority from the due time of the first one, which step 3 has found. The rows
-- before it are dead, and stay in the index as long as an old snapshot needs them. A row that becomes claimable
-- between the two statements with an earlier due time is left to the next claim, which its transaction announces.
--
-- While an old snapshot keeps very many dead rows, a claim of all priorities by queue begins at the marks that an
-- earlier claim of this session has kept (see `keep_claim_marks`). It then answers no later `due_in` than the time at
-- which everything is looked at again.
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
-- Called by: claim, claim_regulated.
-- Granted to: nobody.
create function horsies.claim_in_order(
    claiming_worker uuid, exchange bigint, wanted int, free int, lease_seconds double precision, queue_names text[],
    known_names text[], singly boolean, has_settings boolean, after_priority int, last_priority int, may_wait boolean
) returns table (
    id uuid, task_name text, args json, attempt int, timeout_ms int, queue text, capped boolean, root_id uuid,
    inputs json, trace_context json, due_in double precision
)
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set enable_sort = off set jit = off set plan_cache_mode = force_generic_plan
as $function$
declare
    extra_rows constant int := 50;                  -- read in addition to the rows that are still wanted
    max_searched_queues constant int := greatest(8, cardinality(known_names) / 25);
    max_probes constant int := greatest(200, cardinality(known_names));
    clock constant timestamptz := horsies.now();

    still_wanted int := wanted;
    still_free int := free;
    search_by text := case when cardinality(queue_names) > max_searched_queues then 'name' else 'queue' end;
    probes int := 0;                                -- index probes of the search by queue so far, approximately
    reached_priority smallint := after_priority;                 -- the last priority that was chosen in step 3
    first_due timestamptz;                          -- the due time of the first row of `reached_priority`
    next_due timestamptz;                           -- the earliest due time after `clock` that was seen
    later_due timestamptz;                          -- the same for one round of step 9

    -- Step 3, search by queue: where to begin beside many dead rows.
    may_keep_marks constant boolean := after_priority = 0 and last_priority = 100;
    marks constant jsonb := case when may_keep_marks then horsies.claim_marks(queue_names, 'horsies.claim_marks') end;
    uses_marks constant boolean := coalesce(
        clock between (marks ->> 'from')::timestamptz and (marks ->> 'until')::timestamptz, false);
    max_blocks constant int := 200;                 -- an undisturbed claim reads about one for each queue
    blocks_read bigint := 0;                        -- by step 3
    looked_at int[] := '{}';                        -- the priorities that it has chosen, in parallel to
    looked_at_due timestamptz[] := '{}';            -- the due times of their first rows
    last_looked_at int := 0;

    -- Step 3, search by name: the heads (see `claim_heads`) that are due, in the order of priority and due time.
    names_to_search text[] := known_names;
    head_names text[];                              -- null: they must be read
    head_queues text[];
    head_priorities smallint[];
    head_due_times timestamptz[];
    priorities_at_once int;                         -- how many priorities step 3 chooses together: 1, 2, 4, ...
    first_head int;                                 -- the heads of the chosen priorities are those from `first_head`
    last_head int;                                  -- to `last_head`

    -- Step 4: the candidates.
    row_limit int;                                  -- the number of rows to read
    rows_read int;                                  -- reaches `row_limit` if there may be more rows
    last_read_head int;
    latest_due timestamptz;
    candidates uuid[];
    taken_rows int;

    -- Steps 2 and 6: limits.
    limits_active boolean;                          -- there may be limits or pauses
    has_limits boolean := false;                    -- an open queue or the cluster has a limit
    cluster_limit int;
    open_queues text[] := queue_names;              -- the queues from which tasks can still be taken
    limited_queues text[];                          -- the open queues with a limit, in parallel to `queue_limits`
    queue_limits int[];
    held_locks text[] := case when not may_wait then '{}'::text[] end;      -- null: it has not waited for locks yet
    needed_locks text[];
    candidate_queues text[];
    queues_with_room text[];                        -- of `candidate_queues`, in parallel to `rooms`
    rooms int[];
    cluster_room int;
begin
    -- Step 1: find the worker, and whether there may be limits or pauses.
    select w.caps is not null or w.cluster_cap is not null or has_settings, w.cluster_cap
    into limits_active, cluster_limit
    from horsies.workers w where w.id = claiming_worker;
    if not found then
        return;
    end if;

    -- Step 2: leave out queues that are paused or full. This reads without locks, so step 6 counts again.
    if limits_active then
        select coalesce(array_agg(c.name), '{}'),
               coalesce(array_agg(c.name) filter (where c.max_concurrency is not null), '{}'),
               array_agg(c.max_concurrency) filter (where c.max_concurrency is not null)
        into open_queues, limited_queues, queue_limits
        from horsies.claimable(claiming_worker, queue_names, free) as c;
        has_limits := cluster_limit is not null or cardinality(limited_queues) > 0;
    end if;

    <<priorities>>
    while still_wanted > 0 and cardinality(open_queues) > 0 loop
        -- Step 3: choose the next priority that has waiting rows in the open queues. A search by name chooses one
        -- priority first, then the next two, four, and so on, so that many priorities with few rows need few rounds.
        if search_by = 'queue' and probes > max_probes then
            search_by := 'name';
        end if;
        if search_by = 'queue' then
            if uses_marks then
                select head.priority, head.run_at into reached_priority, first_due
                from horsies.claim_head(open_queues, reached_priority, marks) as head;
            else
                blocks_read := blocks_read - pg_stat_get_xact_blocks_fetched('{horsies}.tasks'::regclass);
                select head.priority, head.run_at into reached_priority, first_due
                from unnest(open_queues) as q (name)
                cross join lateral (
                    select t.priority, t.run_at from horsies.tasks t
                    where t.queue = q.name and t.priority > reached_priority and t.status = 'PENDING' and not t.held
                      and t.turn_key is null
                    order by t.priority, t.run_at limit 1
                ) as head
                order by head.priority, head.run_at limit 1;
                blocks_read := blocks_read + pg_stat_get_xact_blocks_fetched('{horsies}.tasks'::regclass);
            end if;
            last_looked_at := coalesce(reached_priority, last_priority);
            exit when reached_priority is null or reached_priority > last_priority;
            looked_at := looked_at || reached_priority::int;
            looked_at_due := looked_at_due || first_due;
            probes := probes + 3 * cardinality(open_queues);
        else
            if head_names is null then
                select coalesce(array_agg(h.name order by h.priority, h.run_at)
                                    filter (where h.run_at <= clock), '{}'),
                       array_agg(h.queue order by h.priority, h.run_at) filter (where h.run_at <= clock),
                       array_agg(h.priority order by h.priority, h.run_at) filter (where h.run_at <= clock),
                       array_agg(h.run_at order by h.priority, h.run_at) filter (where h.run_at <= clock),
                       least(next_due, min(h.run_at) filter (where h.run_at > clock))
                into head_names, head_queues, head_priorities, head_due_times, next_due
                from horsies.claim_heads(
                    names_to_search, case when search_by = 'name_and_queue' then open_queues end,
                    reached_priority + 1) as h
                where h.priority <= last_priority;
                last_head := 0;
                priorities_at_once := 1;
            end if;
            exit when last_head = cardinality(head_names);
            first_head := last_head + 1;
            select max(following.priority) into reached_priority
            from (select distinct h.priority from unnest(head_priorities[first_head:]) as h (priority)
                  order by h.priority limit priorities_at_once) as following;
            select max(h.place) into last_head
            from unnest(head_priorities) with ordinality as h (priority, place) where h.priority <= reached_priority;
            priorities_at_once := 2 * priorities_at_once;
        end if;

        row_limit := still_wanted + extra_rows;
        loop
            -- Step 4: read the oldest due rows of these priorities without locks. `rows_read` counts all of them;
            -- `candidates` are those that this worker can run, that are in open queues and have not expired.
            if search_by = 'queue' then
                select array_agg(due.id order by due.run_at, due.id)
                           filter (where due.task_name = any (known_names) and (due.good_until > clock) is not false),
                       count(*)
                into candidates, rows_read
                from unnest(open_queues) as q (name)
                cross join lateral (
                    select t.id, t.run_at, t.task_name, t.good_until from horsies.tasks t
                    where t.queue = q.name and t.priority = reached_priority and t.run_at >= first_due
                      and t.run_at <= clock and t.status = 'PENDING' and not t.held
                      and t.turn_key is null
                    order by t.run_at, t.id limit row_limit
                ) as due;
            else
                -- Every head is the first row of its name, so the first `row_limit` rows belong to the first
                -- `row_limit` heads. If all heads have the same priority, none of these rows falls due after the last
                -- of these heads.
                last_read_head := least(last_head, first_head + row_limit - 1);
                latest_due := case when last_read_head < last_head and head_priorities[first_head] = reached_priority
                               then head_due_times[last_read_head] else clock end;
                if search_by = 'name' then
                    select (array_agg(due.id order by due.priority, due.run_at, due.id)
                               filter (where due.queue = any (open_queues) and (due.good_until > clock) is not false)
                           )[:row_limit], count(*)
                    into candidates, rows_read
                    from unnest(head_names[first_head:last_read_head],
                                head_priorities[first_head:last_read_head]) as h (name, priority)
                    cross join lateral (
                        select t.id, t.priority, t.run_at, t.queue, t.good_until from horsies.tasks t
                        where t.task_name = h.name and t.priority = h.priority and t.run_at <= latest_due
                          and t.status = 'PENDING' and not t.held
                          and t.turn_key is null
                        order by t.run_at, t.id limit row_limit
                    ) as due;
                else
                    select (array_agg(due.id order by due.priority, due.run_at, due.id)
                               filter (where due.queue = any (open_queues) and (due.good_until > clock) is not false)
                           )[:row_limit], count(*)
                    into candidates, rows_read
                    from unnest(head_names[first_head:last_read_head], head_queues[first_head:last_read_head],
                                head_priorities[first_head:last_read_head]) as h (name, queue, priority)
                    cross join lateral (
                        select t.id, t.priority, t.run_at, t.queue, t.good_until from horsies.tasks t
                        where t.task_name = h.name and t.queue = h.queue and t.priority = h.priority
                          and t.run_at <= latest_due and t.exchange_no is null and not t.held
                        order by t.run_at, t.id limit row_limit
                    ) as due;
                end if;
            end if;

            -- Step 5: if most of the rows were unusable and there may be more, search in another way. The search
            -- starts again at the first of the priorities that were chosen in step 3.
            if rows_read >= row_limit and coalesce(cardinality(candidates), 0) < row_limit / 2
               and search_by <> 'name_and_queue' then
                reached_priority :=
                    case search_by when 'queue' then reached_priority else head_priorities[first_head] end - 1;
                if search_by = 'name' then
                    names_to_search := array(select distinct h.name from unnest(head_names[first_head:]) as h (name));
                end if;
                search_by := case search_by when 'queue' then 'name' else 'name_and_queue' end;
                head_names := null;
                continue priorities;
            end if;

            -- Step 6: lock the limits that apply to the candidates, and keep the candidates for which there is room.
            if candidates is not null and has_limits then
                candidate_queues := array(
                    select t.queue from horsies.tasks t where t.id = any (candidates) group by t.queue);
                needed_locks := array(
                    select 'queue ' || q.name from unnest(candidate_queues) as q (name)
                    where q.name = any (limited_queues) and 'queue ' || q.name <> all (coalesce(held_locks, '{}')));
                if held_locks is null and cluster_limit is not null then
                    needed_locks := needed_locks || 'cluster'::text;
                end if;
                if cardinality(needed_locks) > 0 then
                    held_locks := coalesce(held_locks, '{}')
                                  || horsies.lock_limits(needed_locks, may_wait => held_locks is null);
                    if not needed_locks <@ held_locks then     -- another claim holds the limits of these queues
                        next_due := clock;
                        open_queues := array(
                            select q.name from unnest(open_queues) as q (name)
                            where 'queue ' || q.name <> all (needed_locks) or 'queue ' || q.name = any (held_locks));
                    end if;
                    continue;                       -- with step 4: earlier lock holders may have taken these rows
                end if;
                select * into queues_with_room, rooms, cluster_room
                from horsies.limit_rooms(candidate_queues, limited_queues, queue_limits, cluster_limit, still_free);
                if cluster_room > 0 then
                    still_wanted := least(still_wanted, cluster_room);
                end if;
                candidates := horsies.within_caps(candidates, queues_with_room, rooms, still_free);
                open_queues := array(
                    select q.name from unnest(open_queues) as q (name)
                    where (cluster_room > 0) is not false
                      and (q.name <> all (candidate_queues) or q.name = any (queues_with_room)));
            end if;

            -- Step 7: take the candidates. Then leave out the queues that are full now.
            if candidates is not null then
                if singly then
                    return query select * from horsies.take_singly(
                        claiming_worker, exchange, candidates, still_wanted, clock, lease_seconds, queues_with_room,
                        rooms);
                else
                    return query select * from horsies.take(
                        claiming_worker, exchange, candidates, still_wanted, clock, lease_seconds, queues_with_room,
                        rooms);
                end if;
                get diagnostics taken_rows = row_count;
                still_wanted := still_wanted - taken_rows;
                still_free := still_free - taken_rows;
                if has_limits then
                    candidate_queues := queues_with_room;
                    select * into queues_with_room, rooms, cluster_room
                    from horsies.limit_rooms(
                        candidate_queues, limited_queues, queue_limits, cluster_limit, still_free);
                    open_queues := array(
                        select q.name from unnest(open_queues) as q (name)
                        where (q.name <> all (candidate_queues) or q.name = any (queues_with_room))
                          and (still_free > 0 or cluster_limit is null and q.name <> all (limited_queues)));
                end if;
            end if;

            -- Step 8: if more tasks are needed and there may be more rows, read again, and twice as many.
            exit when still_wanted = 0 or rows_read < row_limit;
            row_limit := 2 * row_limit;
        end loop;

        -- Step 9: note when the next scheduled task of these priorities falls due.
        if still_wanted > 0 then
            if search_by = 'queue' then
                select min(due.run_at) into later_due
                from unnest(open_queues) as q (name)
                cross join lateral (
                    select t.run_at from horsies.tasks t
                    where t.queue = q.name and t.priority = reached_priority and t.run_at > clock
                      and t.status = 'PENDING' and not t.held
                      and t.turn_key is null
                    order by t.run_at limit 1
                ) as due;
            else
                select min(due.run_at) into later_due
                from unnest(head_names[first_head:last_head], head_priorities[first_head:last_head])
                    as h (name, priority)
                cross join lateral (
                    select t.run_at from horsies.tasks t
                    where t.task_name = h.name and t.priority = h.priority and t.run_at > clock
                      and t.status = 'PENDING' and not t.held
                      and t.turn_key is null
                    order by t.run_at limit 1
                ) as due;
            end if;
            next_due := least(next_due, later_due);
        end if;
    end loop;

    if may_keep_marks and last_looked_at > 0 and (blocks_read > max_blocks or marks is not null) then
        perform horsies.keep_claim_marks(
            queue_names, open_queues, marks, uses_marks, looked_at, looked_at_due, last_looked_at, blocks_read,
            max_blocks, clock, 'horsies.claim_marks');
    end if;
    if uses_marks then
        next_due := least(next_due, (marks ->> 'until')::timestamptz);
    end if;

    -- Step 10: if fewer tasks were found than requested, return the last row.
    if still_wanted > 0 then
        return query select null::uuid, null::text, null::json, null::int, null::int, null::text, limits_active,
                            null::uuid, null::json, null::json,
                            case when isfinite(next_due)
                                 then extract(epoch from next_due - clock)::double precision end;
    end if;
end
$function$;
