-- Purpose: List keys of a queue that have waiting or claimed tasks, a hold, or a bucket that is not full; at most
-- `most`, in their order, after the key `after_key` (null: from the first one). If the app declares no keys any more,
-- those with a hold are listed: holds take effect again when keys are declared. For each: tasks that are due and wait
-- (counted up to `most_tasks` per priority), tasks in flight, the cap and the tokens in effect (null: no limit), and
-- its hold: its kind, its end (null: none is known), who has set it and why. The reason is null for users who may not
-- see arguments. '' is the key of the tasks without one.
--
-- Each source is walked by a loose index scan with `most` probes, so the call is bounded however many tasks wait.
-- Planner settings: see docs/architecture.md.
-- Locks: none.
-- Called by: queries/limits.py.
-- Granted to: viewer, operator.
create function horsies.list_keys(queue_name text, after_key text, most int, most_tasks int) returns table (
    key text, waiting int, in_flight int, cap int, tokens int, held_by text, held_until timestamptz, who text,
    reason text, set_at timestamptz
)
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $function$
declare
    clock constant timestamptz := horsies.now();
    has_turns boolean;
    per_key int;
    rate record;
    priorities int[];
begin
    select q.turns <> 'off',
           case when q.turns = 'on' and 'per_key' <> all (q.lifted_limits)
                then coalesce(q.max_concurrency_per_key, q.declared_per_key) end
    into has_turns, per_key
    from horsies.queues q where q.name = queue_name;
    if not found then
        return;
    end if;
    select r.* into rate from horsies.rate_at(queue_name, 'key', clock) r;
    priorities := array(
        with recursive p as (
            (select t.priority from horsies.tasks t
             where t.queue = queue_name and t.status = 'PENDING' and not t.held and t.turn_key is not null
             order by t.priority limit 1)
            union all
            select (select t.priority from horsies.tasks t
                    where t.queue = queue_name and t.priority > p.priority and t.status = 'PENDING' and not t.held
                      and t.turn_key is not null
                    order by t.priority limit 1)
            from p where p.priority is not null
        )
        select p.priority from p where p.priority is not null);
    return query
    with recursive waits as (
        select at.priority, null::text as turn_key, 0 as place from unnest(priorities) as at (priority)
        union all
        select w.priority, following.turn_key, w.place + 1
        from waits w cross join lateral (
            select t.turn_key from horsies.tasks t
            where t.queue = queue_name and t.priority = w.priority and t.status = 'PENDING' and not t.held
              and t.turn_key is not null
              and (t.turn_key > coalesce(w.turn_key, after_key) or coalesce(w.turn_key, after_key) is null)
            order by t.turn_key limit 1
        ) as following
        where w.place < most
    ),
    runs as (
        select null::text as task_key, 0 as place
        union all
        select following.task_key, r.place + 1
        from runs r cross join lateral (
            select coalesce(t.task_key, '') as task_key from horsies.tasks t
            where t.queue = queue_name and t.status <> 'PENDING' and (t.task_key is not null or t.turn_key is not null)
              and (coalesce(t.task_key, '') > coalesce(r.task_key, after_key)
                   or coalesce(r.task_key, after_key) is null)
            order by coalesce(t.task_key, '') limit 1
        ) as following
        where r.place < most
    ),
    found_keys as (
        select w.turn_key as key from waits w where w.place > 0
        union
        select r.task_key from runs r where has_turns and r.place > 0
        union
        (select h.key from horsies.holds h
         where h.queue = queue_name and h.scope = 'key' and h.until > clock
           and (h.key > after_key or after_key is null)
         order by h.key limit 2 * most)
        union
        (select b.key from horsies.buckets b
         where b.queue = queue_name and b.scope = 'key' and b.used_to > rate.full_from
           and (b.key > after_key or after_key is null)
         order by b.key limit most)
    )
    select f.key,
           (select coalesce(sum(counted.number), 0)::int from unnest(priorities) as at (priority) cross join lateral (
                select count(*) as number from (
                    select from horsies.tasks t
                    where t.queue = queue_name and t.priority = at.priority and t.status = 'PENDING' and not t.held
                      and t.turn_key is not null and t.turn_key = f.key limit most_tasks
                ) as few) as counted),
           (select count(*)::int from horsies.tasks t
            where t.queue = queue_name and coalesce(t.task_key, '') = f.key and t.status <> 'PENDING'
              and (t.task_key is not null or t.turn_key is not null)),
           per_key,
           horsies.tokens_left(
               (select b.used_to from horsies.buckets b
                where b.queue = queue_name and b.scope = 'key' and b.key = f.key), rate.produced, rate.full_from),
           held.kind, nullif(held.until, 'infinity'), held.who,
           case when horsies.sees_arguments() then held.reason end, held.set_at
    from found_keys f
    left join lateral (
        select h.kind, h.until, h.who, h.reason, h.set_at from horsies.holds h
        where h.queue = queue_name and h.scope = 'key' and h.key = f.key and h.until > clock
        order by h.until desc, h.kind limit 1
    ) as held on true
    order by f.key limit most;
end
$function$;
