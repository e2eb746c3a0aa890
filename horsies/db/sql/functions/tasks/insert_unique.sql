-- Purpose: Insert a unique task, or do what its conflict with a live one asks for. `holder` is its value of
-- `holds_unique`; null means that the task is not unique. Returns the task and a verdict, see `enqueue_once`.
--
--                     insert                                 one of these ends the loop:
--           inserted /      \ conflict
--               sent         own id? ----------------------- known, mismatch
--                            other task, past good_until? -- end it, and insert again
--                            gone, or claimed meanwhile? --- insert again
--                            keep, reject ------------------ existing, duplicate
--                            replace: waits? --------------- replaced
--                                     claimed? ------------- duplicate
--
-- With `must_lock`, this transaction may have written data that the existing task reads, and is not committed. A claim
-- then must not start the task before: the row is locked, and claims skip it. This matters only until it has started;
-- who sends 'until ended' accepts that the existing task runs already.
--
-- Locks: the task's row; and the row of the live task that it conflicts with, if that is replaced, ended, or locked.
-- Called by: enqueue_once.
-- Granted to: nobody.
create function horsies.insert_unique(
    new_id uuid, name text, queue_name text, task_priority int, arguments text, request_fingerprint bytea,
    delay_seconds double precision, deadline timestamptz, retries text, timeout int, replay boolean,
    request_key text, holder text, on_conflict text, max_wait double precision, must_lock boolean, new_key text,
    trace json default null
) returns table (task_id uuid, verdict text)
language plpgsql as $function$
declare
    most_rounds constant int := 100;
    expiry constant json := horsies.task_error('TASK_EXPIRED', 'the task was not started by its good_until');
    clock timestamptz;
    live record;
begin
    for round in 1 .. most_rounds loop
        clock := horsies.now();
        insert into horsies.tasks as t
            (id, task_name, queue, priority, args, run_at, good_until, retry_policy, timeout_ms, sent_at, fingerprint,
             idempotency_key, holds_unique, task_key, turn_key, trace_context, secret_args)
        values (new_id, name, queue_name, task_priority, horsies.public_part(arguments),
                clock + make_interval(secs => delay_seconds),
                deadline, retries::json, timeout, clock, request_fingerprint, request_key, holder, new_key,
                case when delay_seconds <= 0 then horsies.turn_key_in(queue_name, new_key) end, trace::jsonb,
                horsies.secret_part(arguments))
        on conflict do nothing;
        if found then
            task_id := new_id;
            verdict := 'sent';
            if replay then              -- as in `enqueue`: the first send may have been accepted, run and ended since
                select case when h.fingerprint = request_fingerprint then 'known' else 'mismatch' end into verdict
                from horsies.find_ended(new_id) h;
                if found then
                    delete from horsies.tasks t where t.id = new_id;
                end if;
            end if;
            verdict := coalesce(verdict, 'sent');
            return next;
            return;
        end if;

        return query select * from horsies.find_sent(new_id, request_fingerprint);
        if found then
            return;
        end if;
        if must_lock and on_conflict = 'keep' and holder like 'started:%' then
            select t.id, t.worker_id, t.started_at, t.good_until into live
            from horsies.tasks t where t.task_name = name and t.holds_unique = holder for key share;
        else
            select t.id, t.worker_id, t.started_at, t.good_until into live
            from horsies.tasks t where t.task_name = name and t.holds_unique = holder;
        end if;
        continue when not found;
        task_id := live.id;
        if live.started_at is null and live.good_until <= clock then
            perform from horsies.tasks t
            where t.id = live.id and t.holds_unique = holder and t.started_at is null for update;
            if found then
                perform horsies.end_tasks(array[live.id], 'EXPIRED', expiry, 'TASK_EXPIRED', clock);
                perform horsies.notify_done(array[live.id], false) where pg_notification_queue_usage() <= 0.9;
            end if;
        elsif on_conflict <> 'replace' then
            verdict := case on_conflict when 'keep' then 'existing' else 'duplicate' end;
            return next;
            return;
        else
            update horsies.tasks t
            set queue = queue_name, priority = task_priority, args = horsies.public_part(arguments),
                secret_args = horsies.secret_part(arguments), good_until = deadline,
                retry_policy = retries::json, timeout_ms = timeout, progress = null, task_key = new_key,
                trace_context = trace::jsonb,
                turn_key = null,                -- the next claim of a keyed queue sets it when the task is due
                run_at = least(clock + make_interval(secs => delay_seconds),
                               t.sent_at + make_interval(secs => max_wait))
            where t.id = live.id and t.holds_unique = holder and t.worker_id is null;
            if found then
                insert into horsies.replacements as r (task_id, request_id, fingerprint)
                values (live.id, new_id, request_fingerprint)
                on conflict on constraint replacements_pkey do update
                set request_id = excluded.request_id, fingerprint = excluded.fingerprint;
                verdict := 'replaced';
                return next;
                return;
            end if;
            perform from horsies.tasks t where t.id = live.id and t.holds_unique = holder and t.worker_id is not null;
            if found then
                verdict := 'duplicate';
                return next;
                return;
            end if;
        end if;
    end loop;
    raise exception 'the live task of % changed % times while a send tried to join it', name, most_rounds
        using errcode = 'serialization_failure';
end
$function$;
