-- Purpose: Accept one task. Returns 'sent', 'known' (a replay of a send that was accepted before) or 'mismatch'
-- (another request has this id). If some arguments are secret, `arguments` are redacted, and `secret_arguments` are
-- complete.
--
-- A first send only inserts. A replay inserts first and looks for the id in history in a second statement, which has
-- its own snapshot. In a single statement, a task that ends at the same time could be found in neither place, and
-- the replay would run it again.
--
-- Locks: the task's row.
-- Called by: schedule_send, send; queries/tasks.py.
-- Granted to: producer, worker.
create function horsies.enqueue(
    new_id uuid, name text, queue_name text, task_priority int, arguments json, request_fingerprint bytea,
    delay_seconds double precision, deadline timestamptz, retries json, timeout int, replay boolean,
    new_key text default null, trace json default null, secret_arguments json default null
) returns text
security definer set search_path = pg_catalog, pg_temp
language plpgsql as $function$
declare
    clock constant timestamptz := horsies.now();
    found_fingerprint bytea;
begin
    perform horsies.durable();
    if replay then
        perform horsies.need_read_committed();
    end if;
    insert into horsies.tasks as t
        (id, task_name, queue, priority, args, run_at, good_until, retry_policy, timeout_ms, sent_at, fingerprint,
         task_key, turn_key, trace_context, secret_args)
    values (new_id, name, queue_name, task_priority, arguments, clock + make_interval(secs => delay_seconds),
            deadline, retries, timeout, clock, request_fingerprint, new_key,
            case when delay_seconds <= 0 then horsies.turn_key_in(queue_name, new_key) end, trace::jsonb,
            secret_arguments)
    on conflict (id) do nothing;
    if not found then
        select t.fingerprint into found_fingerprint from horsies.tasks t where t.id = new_id;
        if not found then       -- it has ended since the insert
            select h.fingerprint into found_fingerprint from horsies.find_ended(new_id) h;
        end if;
    elsif replay then
        select h.fingerprint into found_fingerprint from horsies.find_ended(new_id) h;
        if found then
            delete from horsies.tasks t where t.id = new_id;
        end if;
    end if;
    return case
        when found_fingerprint is null then 'sent'
        when found_fingerprint = request_fingerprint then 'known'
        else 'mismatch'
    end;
end
$function$;
