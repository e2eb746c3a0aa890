-- Purpose: hand up to `wanted` due tasks to a worker and mark them RUNNING, in the order priority (1 first),
-- then due time, then id, across all of its queues. Only names the worker has registered are taken.
-- Returns the tasks, and, when there were fewer than wanted, one last row without id whose `due_in` says in how
-- many seconds the next task of these queues falls due (null: none is scheduled). A worker without a row in
-- `workers` has been declared dead: it gets nothing.
-- Locks: the rows it takes, SKIP LOCKED. Called by: workers, in an exchange.
--
-- How it looks: the pairs (queue, priority) that have waiting rows are visited in order by a skip scan, each
-- step a probe of the index `tasks_to_claim`. Within a priority, rows are locked queue by queue, skipping those
-- that other workers hold; with several queues the first rows are read without a lock before, to learn how many
-- of the oldest stand in each queue. The look cannot see which of them others hold: where that left too few, it
-- reaches twice as far. A worker with one queue needs no such look.
--
-- `now` is read once into a variable: a volatile call in the WHERE would be a filter on every scheduled row and
-- not a bound of the index scan. The planner is pinned, for a plan made while the table was empty would
-- otherwise be kept, cached and generic, when it is full.
create function horsies.claim(
    claiming_worker uuid, exchange bigint, wanted int, queue_names text[], known_names text[]
) returns table (id uuid, task_name text, args json, attempt int, timeout_ms int, due_in double precision)
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set enable_sort = off set jit = off
as $function$
declare
    clock constant timestamptz := horsies.now();
    level smallint := 0;
    missing int := wanted;
    reach int;
    quotas int[];
    seen int;
    taken int;
    level_due timestamptz;
    next_due timestamptz;
begin
    perform horsies.durable();
    perform horsies.need_read_committed();
    if not exists (select from horsies.workers w where w.id = claiming_worker) then
        return;
    end if;
    while missing > 0 loop
        select min(head.priority) into level
        from unnest(queue_names) as q (name)
        cross join lateral (
            select t.priority from horsies.tasks t
            where t.queue = q.name and t.priority > level and t.status = 'PENDING' and not t.held
            order by t.priority limit 1
        ) as head;
        exit when level is null;

        reach := missing;
        loop
            quotas := array[missing];
            if cardinality(queue_names) > 1 then
                select array_agg(coalesce(share.n, 0) order by q.place), coalesce(sum(share.n), 0) into quotas, seen
                from unnest(queue_names) with ordinality as q (name, place)
                left join (
                    select oldest.queue, count(*)::int as n
                    from (
                        select due.queue
                        from unnest(queue_names) as q (name)
                        cross join lateral (
                            select t.queue, t.run_at, t.id from horsies.tasks t
                            where t.queue = q.name and t.priority = level and t.run_at <= clock
                              and t.status = 'PENDING' and not t.held
                              and t.task_name = any (known_names) and (t.good_until > clock) is not false
                            order by t.run_at, t.id limit reach
                        ) as due
                        order by due.run_at, due.id limit reach
                    ) as oldest
                    group by oldest.queue
                ) as share on share.queue = q.name;
            end if;

            return query
            with locked as materialized (
                select due.id, due.run_at
                from unnest(queue_names, quotas) as q (name, quota)
                cross join lateral (
                    select t.id, t.run_at from horsies.tasks t
                    where t.queue = q.name and t.priority = level and t.run_at <= clock
                      and t.status = 'PENDING' and not t.held
                      and t.task_name = any (known_names) and (t.good_until > clock) is not false
                    order by t.run_at, t.id limit q.quota
                    for update skip locked
                ) as due
            ),
            oldest as materialized (
                select l.id from locked l order by l.run_at, l.id limit missing
            ),
            begun as (
                update horsies.tasks t
                set status = 'RUNNING', worker_id = claiming_worker, exchange_no = exchange,
                    attempt = t.attempt + 1, claimed_at = clock, started_at = clock
                from oldest where t.id = oldest.id
                returning t.*
            )
            select b.id, b.task_name, b.args, b.attempt, b.timeout_ms, null::double precision
            from begun b order by b.run_at, b.id;
            get diagnostics taken = row_count;
            missing := missing - taken;
            exit when missing = 0 or cardinality(queue_names) = 1 or seen < reach;
            reach := 2 * reach;
        end loop;

        if missing > 0 then
            select min(due.run_at) into level_due
            from unnest(queue_names) as q (name)
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
        return query select null::uuid, null::text, null::json, null::int, null::int,
                            extract(epoch from next_due - clock)::double precision;
    end if;
end
$function$;
