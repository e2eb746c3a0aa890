-- Purpose: Count the waiting tasks of each pair of queue and name: those that are due (`waiting`) and those that are
-- not (`scheduled`); `first_due_at` is the earliest due time of those that are due. Tasks that a paused workflow run
-- holds are left out. With `only_queue`, the tasks of other queues are not counted.
--
-- A queue is counted up to `most` tasks of each kind, and all queues together up to about `most_in_all`, those with
-- few tasks first. A kind of which maintenance has counted at least twice as many in the last minute is not counted
-- again, except for names with at most 100 tasks: counting to the bound takes most of the time of a question, and the
-- answer would be the number of maintenance anyway. For each kind, an `accuracy` says where the number comes from:
-- 'exact'; 'counted', by maintenance, at `counted_at` (see `count_waiting`); or 'at_least', because maintenance has
-- not counted the tasks yet. The due times are always exact. A loose index scan of `tasks_by_name` steps from one
-- combination of name, queue and priority to the next, and ends after `most_groups`; then numbers of maintenance
-- follow, without a due time.
-- Planner settings: see docs/architecture.md.
-- Locks: none.
-- Called by: backlog, count_waiting, queue_status, waiting_reasons.
-- Granted to: nobody.
create function horsies.waiting_figures(
    clock timestamptz, most int default 100000, most_in_all int default 300000, most_groups int default 5000,
    only_queue text default null
) returns table (
    queue text, task_name text, waiting bigint, waiting_accuracy text, scheduled bigint, scheduled_accuracy text,
    counted_at timestamptz, first_due_at timestamptz
)
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $function$
declare
    max_counted_always constant int := 100;     -- of each combination, even if `most_in_all` is used up
    recent_count constant interval := interval '1 minute';
    found_group record;
    current_queue text;
    -- Of two kinds of tasks: 1: those that are due, 2: those that are not.
    limits constant timestamptz[] := array['-infinity', clock, 'infinity'];
    rooms int[];
    numbers bigint[];
    accuracies text[];
    counted_before bigint[];
    room int := most_in_all;
    allowed int;
    each_priority int;
    number int;
    groups int := 0;
    last_queue text;
    last_name text;
begin
    for found_group in
        with recursive heads as (
            (select t.task_name, t.queue, t.priority, t.run_at from horsies.tasks t
             where t.exchange_no is null and not t.held
             order by t.task_name, t.queue, t.priority, t.run_at limit 1)
            union all
            select following.* from heads h cross join lateral (
                select t.task_name, t.queue, t.priority, t.run_at from horsies.tasks t
                where t.exchange_no is null and not t.held
                  and (t.task_name, t.queue, t.priority) > (h.task_name, h.queue, h.priority)
                order by t.task_name, t.queue, t.priority, t.run_at limit 1
            ) as following
        ),
        listed as (
            select h.*, row_number() over () as nth from heads h limit most_groups
        ),
        grouped as (
            select l.queue, l.task_name, array_agg(l.priority::int) as priorities, min(l.run_at) as first_at,
                   max(l.nth) as nth
            from listed l group by l.queue, l.task_name
        )
        select g.queue, g.task_name, g.priorities, g.first_at, g.nth, c.waiting, c.scheduled, c.counted_at,
               last_count.size, last_count.recent_waiting, last_count.recent_scheduled
        from grouped g left join horsies.waiting_counts c on c.queue = g.queue and c.task_name = g.task_name
        cross join lateral (
            select coalesce(sum(k.waiting + k.scheduled), 0) as size,
                   sum(k.waiting) filter (where k.counted_at between clock - recent_count and clock) as recent_waiting,
                   sum(k.scheduled) filter (where k.counted_at between clock - recent_count and clock)
                       as recent_scheduled
            from horsies.waiting_counts k where k.queue = g.queue
        ) as last_count
        order by last_count.size, g.queue, g.task_name
    loop
        if found_group.queue is distinct from current_queue then
            current_queue := found_group.queue;
            rooms := array[case when found_group.recent_waiting >= 2::bigint * most then 0 else most end,
                           case when found_group.recent_scheduled >= 2::bigint * most then 0 else most end];
        end if;
        if found_group.nth > groups then
            groups := found_group.nth;
            last_queue := found_group.queue;
            last_name := found_group.task_name;
        end if;
        continue when found_group.queue <> only_queue;      -- never if this is null
        queue := found_group.queue;
        task_name := found_group.task_name;
        first_due_at := case when found_group.first_at <= clock then found_group.first_at end;
        counted_at := null;
        numbers := '{0,0}';
        accuracies := '{exact,exact}';
        foreach each_priority in array found_group.priorities loop
            for kind in 1..2 loop
                allowed := greatest(least(rooms[kind], room), max_counted_always);
                select count(*) into number from (
                    select from horsies.tasks t
                    where t.task_name = found_group.task_name and t.queue = found_group.queue
                      and t.priority = each_priority and t.exchange_no is null and not t.held
                      and t.run_at > limits[kind] and t.run_at <= limits[kind + 1]
                    limit allowed + 1
                ) as few;
                numbers[kind] := numbers[kind] + least(number, allowed);
                rooms[kind] := greatest(rooms[kind] - number, 0);
                room := greatest(room - number, 0);
                if number > allowed then
                    accuracies[kind] := 'at_least';
                end if;
            end loop;
        end loop;
        counted_before := array[found_group.waiting, found_group.scheduled];
        for kind in 1..2 loop
            if accuracies[kind] = 'at_least' and counted_before[kind] >= numbers[kind] then
                numbers[kind] := counted_before[kind];
                accuracies[kind] := 'counted';
                counted_at := found_group.counted_at;
            end if;
        end loop;
        waiting := numbers[1];
        waiting_accuracy := accuracies[1];
        scheduled := numbers[2];
        scheduled_accuracy := accuracies[2];
        return next;
    end loop;
    if groups >= most_groups then
        return query
        select c.queue, c.task_name, c.waiting, 'counted', c.scheduled, 'counted', c.counted_at, null::timestamptz
        from horsies.waiting_counts c
        where (c.task_name, c.queue) > (last_name, last_queue) and (c.queue = only_queue) is not false;
    end if;
end
$function$;
