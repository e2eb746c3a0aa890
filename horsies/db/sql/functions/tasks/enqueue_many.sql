-- Purpose: Accept many tasks in one statement. Returns null or, in a replay, the position (from 1) of the first task
-- whose id belongs to another request; the caller then has to roll the transaction back.
--
-- Each task has an id, arguments (a line of JSON; see `public_part` about secrets), a fingerprint of 32 bytes, and the
-- number of its kind (from 1). The other arrays have one element for each kind: what tasks of the same name with the
-- same options have in common. Only `task_keys` has one element per task; it is null if no task has a key. The trace
-- context `trace` is that of the one span that sends all tasks, or null.
--
-- A first send only inserts, and fails if an id exists. It has no `on conflict`, with which the insert would look for
-- each id first. A replay inserts first and then looks for the ids in later statements, which have separate snapshots;
-- see `enqueue`. The tasks of one send are committed together. If one of them exists or has ended, the first send was
-- committed, and the rows that the replay inserted belong to tasks that have ended.
--
-- Planner settings: see docs/architecture.md.
-- Locks: the rows of the tasks.
-- Called by: queries/tasks.py.
-- Granted to: producer, worker.
create function horsies.enqueue_many(
    new_ids uuid[], arguments text, fingerprints bytea, kinds int[],
    names text[], queue_names text[], priorities int[], delays double precision[], deadlines timestamptz[],
    retries text[], timeouts int[], replay boolean, task_keys text[] default null,
    trace json default null
) returns int
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set enable_seqscan = off set enable_nestloop = off set enable_hashjoin = on set jit = off
as $function$
declare
    clock constant timestamptz := horsies.now();
    inserted uuid[];
    accepted int;
    mismatch int;
    ended int;
begin
    perform horsies.durable();
    if not replay then
        insert into horsies.tasks
            (id, task_name, queue, priority, args, run_at, good_until, retry_policy, timeout_ms, sent_at, fingerprint,
             task_key, turn_key, trace_context, secret_args)
        select i.id, k.name, k.queue, k.priority, horsies.public_part(i.args),
               clock + make_interval(secs => k.delay), k.deadline, k.retry::json, k.timeout, clock,
               substring(fingerprints, (i.place::int - 1) * 32 + 1, 32),
               i.task_key, case when k.takes_turns then coalesce(i.task_key, '') end, trace::jsonb,
               horsies.secret_part(i.args)
        from unnest(new_ids, string_to_array(arguments, E'\n'), kinds, task_keys)
             with ordinality as i (id, args, kind, task_key, place)
        join (
            select given.*, given.delay <= 0 and horsies.turn_key_in(given.queue, null) is not null as takes_turns
            from unnest(names, queue_names, priorities, delays, deadlines, retries, timeouts)
                 with ordinality as given (name, queue, priority, delay, deadline, retry, timeout, number)
            offset 0                                -- looks at the queue once for each kind
        ) as k on k.number = i.kind;
        return null;
    end if;
    perform horsies.need_read_committed();
    with sent as (
        insert into horsies.tasks as t
            (id, task_name, queue, priority, args, run_at, good_until, retry_policy, timeout_ms, sent_at, fingerprint,
             task_key, turn_key, trace_context, secret_args)
        select i.id, k.name, k.queue, k.priority, horsies.public_part(i.args),
               clock + make_interval(secs => k.delay), k.deadline, k.retry::json, k.timeout, clock,
               substring(fingerprints, (i.place::int - 1) * 32 + 1, 32),
               i.task_key, case when k.takes_turns then coalesce(i.task_key, '') end, trace::jsonb,
               horsies.secret_part(i.args)
        from unnest(new_ids, string_to_array(arguments, E'\n'), kinds, task_keys)
             with ordinality as i (id, args, kind, task_key, place)
        join (
            select given.*, given.delay <= 0 and horsies.turn_key_in(given.queue, null) is not null as takes_turns
            from unnest(names, queue_names, priorities, delays, deadlines, retries, timeouts)
                 with ordinality as given (name, queue, priority, delay, deadline, retry, timeout, number)
            offset 0                                -- looks at the queue once for each kind
        ) as k on k.number = i.kind
        on conflict (id) do nothing
        returning t.id
    )
    select count(*), array_agg(s.id) into accepted, inserted from sent s;
    -- The rows of tasks are read first: a task that ends in between is then found in history.
    select min(i.place) into mismatch
    from (select t.id, t.fingerprint from horsies.tasks t where t.id = any (new_ids)) as t
    join unnest(new_ids) with ordinality as i (id, place) on i.id = t.id
    where t.fingerprint <> substring(fingerprints, (i.place::int - 1) * 32 + 1, 32);
    select count(*), least(mismatch, min(i.place) filter (
        where h.fingerprint <> substring(fingerprints, (i.place::int - 1) * 32 + 1, 32)))
    into ended, mismatch
    from horsies.find_ended_among(new_ids) as h
    join unnest(new_ids) with ordinality as i (id, place) on i.id = h.id;
    if ended > 0 or accepted < cardinality(new_ids) then
        delete from horsies.tasks t where t.id = any (inserted);
    end if;
    return mismatch;
end
$function$;
