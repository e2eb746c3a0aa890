-- Purpose: Send a task from SQL with an idempotency key. Returns the id of the task that stands for the send: the new
-- one, or the one that was sent before with this key. Refuses a key that was used with other arguments.
-- Locks: those of `enqueue_once`.
-- Called by: send.
-- Granted to: nobody.
create function horsies.send_once(
    new_id uuid, name text, queue_name text, task_priority int, arguments json, delay_seconds double precision,
    deadline timestamptz, retries json, timeout int, idempotency_key text
) returns uuid
language plpgsql as $function$
declare
    answer record;
begin
    select e.task_id, e.verdict into strict answer
    from horsies.enqueue_once(
        array[new_id], array[name], array[queue_name], array[task_priority], array[arguments::text],
        array[''::bytea], array[coalesce(delay_seconds, 0)], array[deadline], array[retries::text], array[timeout],
        false, true, array[idempotency_key], array[null::text], array[null::text], array[null::text],
        array[null::double precision]) as e;
    if answer.verdict in ('sent', 'existing') then
        return answer.task_id;
    elsif answer.verdict = 'other_args' then
        raise exception 'the idempotency key % belongs to the task %, which has other arguments',
            quote_literal(idempotency_key), answer.task_id
            using errcode = 'unique_violation',
                  hint = 'Use another key, or send the arguments with which the key was first used.';
    elsif answer.verdict = 'isolation' then
        raise exception 'a send with an idempotency key needs a READ COMMITTED transaction, this one is %',
            upper(current_setting('transaction_isolation'))
            using errcode = 'feature_not_supported',
                  hint = 'Set the isolation level of the transaction to READ COMMITTED, or omit the key.';
    end if;
    raise exception 'the new id % belongs to another task', new_id
        using errcode = 'unique_violation', hint = 'Send the task again.';
end
$function$;
