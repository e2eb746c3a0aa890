-- Purpose: Send a task from SQL, in the transaction of the caller. Returns the id of the task. The queue, the
-- priority, the retry policy, the time-out, the uniqueness, the key and the secret arguments are those that an app has
-- declared (`register_tasks`), unless arguments say otherwise. A task that no app has declared needs a queue, and its
-- arguments are not checked. If the idempotency key belongs to an earlier send, or a live task is kept or replaced,
-- the id is that of this task. A worker is notified when the transaction is committed, unless `wake` is false or
-- nothing was sent. `trace_context` is a JSON object with a `traceparent` as in the W3C recommendation Trace Context,
-- and optionally a `tracestate` and `baggage`: the span of the worker is linked to it. Null stands for the default of
-- any argument that has one, except `args`.
-- Locks: the task's row; those of `enqueue_once` if there is a key or the task is unique.
-- Called by: users, in SQL.
-- Granted to: producer, worker.
create function horsies.send(
    task text, args json default '{}', queue text default null, priority int default null,
    delay interval default null, good_until timestamptz default null, idempotency_key text default null,
    key text default null, wake boolean default true, trace_context json default null
) returns uuid
security definer set search_path = pg_catalog, pg_temp
language plpgsql as $function$
declare
    clock constant timestamptz := horsies.now();
    new_id constant uuid := horsies.new_task_id(clock);
    declared horsies.declarations;
    chosen_queue text;
    chosen_priority int;
    delay_seconds constant double precision := extract(epoch from greatest(clock + delay, clock) - clock);
    deadline constant timestamptz := case when good_until is not null   -- within the years that Python can read
        then greatest('0001-01-02 00:00:00+00', least(good_until, '9999-12-30 00:00:00+00')) end;
    chosen_key text := key;
    trace constant json := horsies.checked_trace(trace_context);
    public_args json := args;
    secret_args json;
    answer record;
begin
    perform horsies.check_send(task, args, queue, priority, delay, idempotency_key, key);
    select d.* into declared from horsies.declarations d where d.task_name = send.task and d.is_current;
    if declared.digest is not null then
        perform horsies.check_arguments(task, args, declared.parameter_names, declared.required_names);
    elsif queue is null then
        raise exception 'no task named % is registered', quote_literal(task)
            using errcode = 'undefined_object',
                  hint = 'Check the name. Workers register the tasks of their app when they start, and so does the '
                         'command: horsies db register MODULE:APP. To send a task that is not registered, name its '
                         'queue: {horsies}.send(…, queue => …)';
    end if;
    if declared.secret_paths is not null then
        public_args := horsies.redacted(args, declared.secret_paths);
        secret_args := args;
    end if;
    chosen_queue := coalesce(queue, declared.queue);
    if key is null and declared.key_by is not null then
        chosen_key := horsies.key_of_arguments(args, declared.key_by, declared.defaults);
        perform horsies.check_key(chosen_key, task);
    end if;
    chosen_priority := coalesce(priority, horsies.default_priority(task, chosen_queue));
    if idempotency_key is not null or declared.uniqueness is not null then
        select * into answer from horsies.send_once(
            new_id, task, chosen_queue, chosen_priority, args, delay_seconds, deadline, declared.retry_policy,
            declared.timeout_ms, idempotency_key, declared.uniqueness, declared.defaults, chosen_key, trace,
            public_args);
        if wake is not false and answer.verdict <> 'existing' then
            perform horsies.notify_wake_within();
        end if;
        return answer.task_id;
    end if;
    if horsies.enqueue(
        new_id, task, chosen_queue, chosen_priority, public_args, '', delay_seconds, deadline,
        declared.retry_policy, declared.timeout_ms, false, chosen_key, trace, secret_args
    ) <> 'sent' then
        raise exception 'the new id % belongs to another task', new_id
            using errcode = 'unique_violation', hint = 'Send the task again.';
    end if;
    if wake is not false then
        perform horsies.notify_wake_within();
    end if;
    return new_id;
end
$function$;
