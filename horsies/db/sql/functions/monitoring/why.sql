-- Purpose: Explain what a task or a run is waiting for: a short `reason` and a sentence. The conditions are those of
-- `claim`, ordered so that each is relevant only if none before it holds; a test compares both functions. 'next'
-- means that `claim` would give the task to a worker that has a free child.
-- Planner settings: see docs/architecture.md.
-- Locks: none.
-- Called by: queries/monitoring.py, why_run.
-- Granted to: producer, worker, viewer, operator.
create function horsies.why(wanted uuid) returns table (reason text, sentence text)
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $function$
declare
    clock constant timestamptz := horsies.now();
    style constant text := 'YYYY-MM-DD HH24:MI:SS "UTC"';
    task horsies.tasks;
    past horsies.history;
    named uuid[];       -- live workers that registered the name
    serving uuid[];     -- those of them that serve the queue
    cap int;
    claimed int;
    ahead int;
    holder text;        -- the worker that has claimed the task
    fillers text;       -- the tasks that fill the limit of the queue
    all_fillers text;   -- the tasks that fill the limit of the cluster
begin
    select * into task from horsies.tasks t where t.id = wanted;
    if not found then
        return query select * from horsies.why_run(wanted);
        if found then
            return;
        end if;
        select * into past from horsies.find_ended(wanted);
        return query select case when past.id is null then 'unknown' else 'ended' end, case
            when past.id is null then 'there is no such task, or its record was pruned'
            else format('it ended %s at %s', concat_ws(' with ', past.status, past.error_code),
                        to_char(past.finished_at at time zone 'UTC', style)) end;
        return;
    end if;

    select array_agg(w.id), array_agg(w.id) filter (where task.queue = any (w.queues)) into named, serving
    from horsies.workers w
    where task.task_name = any (w.task_names) and w.heartbeat_at + w.stale_after >= horsies.server_time();
    select coalesce(q.max_concurrency, (select min(d.cap) from horsies.workers w
                                        cross join unnest(w.queues, w.caps) as d (name, cap)
                                        where w.id = any (serving) and d.name = task.queue))
    into cap from (select) as always left join horsies.queues q on q.name = task.queue;
    select count(*) filter (where t.queue = task.queue), max(t.worker) filter (where t.id = wanted),
           string_agg(t.task_name || ' on ' || t.worker, ', ') filter (where t.queue = task.queue and t.place <= 3),
           string_agg(t.task_name || ' on ' || t.worker, ', ') filter (where t.place <= 3)
    into claimed, holder, fillers, all_fillers
    from (select h.id, h.queue, h.task_name, coalesce(w.process_name, 'a dead worker') as worker,
                 row_number() over (order by h.queue <> task.queue, h.claimed_at) as place
          from horsies.tasks h left join horsies.workers w on w.id = h.worker_id where h.status <> 'PENDING') as t;
    select count(*) into ahead
    from (select from horsies.tasks t
          where t.queue = task.queue and t.status = 'PENDING' and not t.held and t.run_at <= clock
            and t.turn_key is null and task.turn_key is null
            and (t.priority, t.run_at, t.id) < (task.priority, task.run_at, task.id)
          union all
          select from horsies.tasks t
          where t.queue = task.queue and t.status = 'PENDING' and not t.held and t.run_at <= clock
            and t.turn_key = task.turn_key and t.priority = task.priority
            and (t.run_at, t.id) < (task.run_at, task.id)
          limit 1000) as others;

    return query select found.reason, found.sentence from (select * from (values
        (1, task.status = 'RUNNING', 'running', format('running since %s, attempt %s, on %s',
            to_char(task.started_at at time zone 'UTC', style), task.attempt, holder)),
        (2, task.status = 'CLAIMED', 'prefetched',
            format('it waits for a free child of %s, which has claimed it until %s',
                   holder, to_char(task.lease_until at time zone 'UTC', style))),
        (3, task.held, 'held', 'its workflow run is paused'),
        (4, task.good_until <= clock, 'overdue',
            format('it was not started by its good_until, %s, and is about to expire',
                   to_char(task.good_until at time zone 'UTC', style))),
        (5, task.run_at > clock and task.attempt > 0, 'retry', format('attempt %s failed, and it is tried again at %s',
            task.attempt, to_char(task.run_at at time zone 'UTC', style))),
        (6, task.run_at > clock, 'scheduled',
            format('it is due at %s', to_char(task.run_at at time zone 'UTC', style))),
        (7, exists (select from horsies.queues q where q.name = task.queue and q.paused), 'paused',
            format('its queue %s is paused', task.queue)),
        (8, named is null, 'no_worker', format('no live worker registers the name %s', task.task_name)),
        (9, serving is null, 'no_worker', format('no live worker that registers the name %s works on the queue %s',
            task.task_name, task.queue)),
        (10, claimed >= cap, 'queue_full', concat_ws(': ',
            format('its queue %s is full, %s are claimed and the cap is %s', task.queue, claimed, cap), fillers)),
        (11, not exists (select from unnest(serving) as s (id)
                         cross join lateral horsies.claimable(s.id, array[task.queue], 1)), 'cluster_full',
            format('the cluster is full, its cap is cluster_wide_cap: %s', all_fillers)),
        (13, true, 'next', format('it is due, with %s before it in its queue; live workers that may take it: %s',
            ahead, cardinality(serving)))
    ) as known (place, holds, reason, sentence)
    union all
    select 12, true, r.reason, r.sentence from horsies.why_regulated(task.queue, task.task_key, clock) as r
    ) as found
    where found.holds order by found.place limit 1;
end
$function$;
