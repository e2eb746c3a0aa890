-- Purpose: Accept tasks of which each may have an idempotency key or be unique, in one statement, all or none. The
-- arrays have one element per task. `enqueue` is for tasks that have neither. One task is sent like this:
--
--   select e.task_id, e.verdict
--   from horsies.enqueue_once(
--       array[new_id], array[name], array[queue], array[priority], array[args::text], array[fingerprint],
--       array[delay_seconds], array[good_until]::timestamptz[], array[retry_policy::text], array[timeout_ms], false,
--       true, array[idempotency_key], array[unique_args::text], array['started'], array['keep'],
--       array[null]::double precision[]) e;
--
-- `arguments`: see `public_part` about secrets. `keys`: the idempotency key, or null. `unique_args`: null, or a JSON
-- object of the arguments that are compared, by parameter name, with the defaults of parameters that were not passed.
-- `until` is 'started' or 'ended', `on_conflict` is 'keep', 'replace' or 'reject', and `max_waits` the seconds after
-- its first send by which a replaced task is due, or null; they are ignored where `unique_args` is null. With
-- `replay`, the tasks may have been sent before, under the same ids. `in_transaction` says that the caller's
-- transaction may contain what the tasks are to read (see `insert_unique`). `task_keys`: the key of each task, or
-- null; null: no task has one. `trace`: the trace context of the span that sends all tasks, or null. If `who` is
-- given, a person or program operates the queue, and the tasks that are new or got other arguments are recorded.
--
-- Returns for each task, in order of `place` from 1, the task that stands for the send, and a verdict:
--
--   sent         it is new
--   known        it was accepted before, under the same id or as a replacement
--   existing     its key belongs to this task, or this task keeps it from being sent
--   replaced     this waiting task got its arguments
--
-- or, if a task is refused, only one row. Nothing has changed then, in the transaction of the caller either:
--
--   mismatch     another request has the id
--   other_args   its key belongs to this task, whose send had other arguments
--   duplicate    this task keeps it from being sent
--   isolation    the transaction is not READ COMMITTED; without a task
--
-- Both promises are kept by unique indexes and not by looking first: a concurrent send waits for the transaction that
-- has the key, or the unique task, and then sees what that has committed. So keys are inserted first, sorted, and two
-- calls with the same keys cannot wait for each other. Then the tasks are inserted in the order of the arrays. Waits
-- end after 5 seconds with 55P03, or with 40P01, and a message that names the blocker if it is known.
--
-- Planner settings: see docs/architecture.md.
-- Locks: keys in the order of names and keys; then task rows, in the order of the arrays.
-- Called by: schedule_send, send_once; queries/tasks.py.
-- Granted to: producer, worker.
create function horsies.enqueue_once(
    new_ids uuid[], names text[], queues text[], priorities int[], arguments text[], fingerprints bytea[],
    delays double precision[], deadlines timestamptz[], retries text[], timeouts int[], replay boolean,
    in_transaction boolean, keys text[], unique_args text[], until text[], on_conflict text[],
    max_waits double precision[], task_keys text[] default null, trace json default null, who text default null
) returns table (place int, task_id uuid, verdict text)
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off
set lock_timeout = '5s'
as $function$
declare
    refusals constant text[] := array['mismatch', 'other_args', 'duplicate'];
    began constant timestamptz := clock_timestamp();
    task_ids uuid[] := array_fill(null::uuid, array[cardinality(new_ids)]);
    verdicts text[] := array_fill(null::text, array[cardinality(new_ids)]);
    item record;
    answer record;
    holder text;
    failure text;
    reason text;
    detail text;
begin
    if current_setting('transaction_isolation') not in ('read committed', 'read uncommitted') then
        return query select 1, null::uuid, 'isolation'::text;
        return;
    end if;
    perform horsies.durable();
    begin
        for item in
            select given.* from unnest(new_ids, names, arguments, fingerprints, keys) with ordinality
                as given (id, name, args, fingerprint, key, place)
            where replay or given.key is not null
            order by given.name collate "C", given.key collate "C", given.place
        loop
            if replay then
                select * into answer from horsies.find_sent(item.id, item.fingerprint);
                if found then
                    task_ids[item.place] := answer.task_id;
                    verdicts[item.place] := answer.verdict;
                end if;
            end if;
            if item.key is not null and verdicts[item.place] is null then
                select * into answer from horsies.claim_key(
                    item.name, item.key, item.id, coalesce(horsies.secret_part(item.args)::text, item.args));
                if found then
                    task_ids[item.place] := answer.task_id;
                    verdicts[item.place] := case when answer.has_same_arguments then 'existing' else 'other_args' end;
                end if;
            end if;
            if verdicts[item.place] = any (refusals) then
                place := item.place;
                raise exception using errcode = 'P0H02';
            end if;
        end loop;
        for item in
            select given.* from unnest(
                new_ids, names, queues, priorities, arguments, fingerprints, delays, deadlines, retries, timeouts,
                keys, unique_args, until, on_conflict, max_waits, task_keys) with ordinality
                as given (id, name, queue, priority, args, fingerprint, delay, deadline, retry, timeout, key,
                          unique_args, until, on_conflict, max_wait, task_key, place)
        loop
            if verdicts[item.place] = 'existing' then      -- an earlier item of this call may have changed the key
                select k.task_id into answer
                from horsies.idempotency_keys k where k.task_name = item.name and k.key = item.key;
                task_ids[item.place] := coalesce(answer.task_id, task_ids[item.place]);
            end if;
            continue when verdicts[item.place] is not null;
            holder := case when item.unique_args is not null
                           then item.until || ':' || encode(horsies.json_digest(item.unique_args), 'hex') end;
            if replay and holder is not null then   -- another item of the call may say which task it was
                select task_ids[same.place] as task_id into answer
                from unnest(names, unique_args, until) with ordinality as same (name, unique_args, until, place)
                where verdicts[same.place] = 'known' and same.name = item.name and same.until = item.until
                  and horsies.json_digest(same.unique_args) = horsies.json_digest(item.unique_args)
                limit 1;
                if found then
                    task_ids[item.place] := answer.task_id;
                    verdicts[item.place] := 'known';
                    continue;
                end if;
            end if;
            select * into answer from horsies.insert_unique(
                item.id, item.name, item.queue, item.priority, item.args, item.fingerprint, item.delay,
                item.deadline, item.retry, item.timeout, replay, item.key,
                holder, item.on_conflict, item.max_wait, in_transaction, item.task_key, trace);
            task_ids[item.place] := answer.task_id;
            verdicts[item.place] := answer.verdict;
            if answer.verdict = any (refusals) then
                place := item.place;
                raise exception using errcode = 'P0H02';
            end if;
            if item.key is not null and answer.task_id <> item.id then
                update horsies.idempotency_keys k set task_id = answer.task_id
                where k.task_name = item.name and k.key = item.key;
            end if;
        end loop;
    exception
        when sqlstate 'P0H02' then
            return query select enqueue_once.place, task_ids[enqueue_once.place], verdicts[enqueue_once.place];
            return;
        when lock_not_available or deadlock_detected then
            get stacked diagnostics failure = returned_sqlstate, reason = message_text, detail = pg_exception_detail;
            raise exception '%', horsies.send_blocker(failure, detail, began)
                using errcode = failure, detail = reason;
    end;
    perform horsies.record_action(
        who, 'task.send',
        array(select given.task_id::text from unnest(task_ids, verdicts) as given (task_id, verdict)
              where given.verdict in ('sent', 'replaced')),
        json_build_object('task_names', (select json_agg(distinct each.name) from unnest(names) as each (name))))
    where who is not null;
    return query
    select given.place::int, given.task_id, given.verdict
    from unnest(task_ids, verdicts) with ordinality as given (task_id, verdict, place);
end
$function$;
