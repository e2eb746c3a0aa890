-- Purpose: Send a task with an idempotency key or a unique task from SQL, or raise an error that says why it was
-- refused. Returns the task that stands for the send, and the verdict of `enqueue_once`. `uniqueness` is that of the
-- declaration; null means that the task is not unique. `public_args` are the arguments without secrets.
-- Locks: those of `enqueue_once`.
-- Called by: send.
-- Granted to: nobody.
create function horsies.send_once(
    new_id uuid, task text, queue text, priority int, args json, delay_seconds double precision, deadline timestamptz,
    retries json, timeout int, idempotency_key text, uniqueness json, defaults json, task_key text,
    trace json, public_args json
) returns table (task_id uuid, verdict text)
language plpgsql as $function$
declare
    names constant text[] := array(select json_array_elements_text(uniqueness -> 'by'));
    until constant text := uniqueness ->> 'until';
begin
    select e.task_id, e.verdict into task_id, verdict
    from horsies.enqueue_once(
        array[new_id], array[task], array[queue], array[priority],
        array[case when public_args::text = args::text then args::text
                   else concat(E'\x1e', public_args, E'\x1e', args) end], array[''::bytea],
        array[delay_seconds], array[deadline], array[retries::text], array[timeout], false,
        true, array[idempotency_key],
        array[case when uniqueness is not null then horsies.compared_arguments(args, names, defaults) end],
        array[until], array[uniqueness ->> 'on_conflict'],
        array[(uniqueness ->> 'max_wait')::double precision], array[task_key], trace) as e;
    case verdict
        when 'isolation' then
            raise exception 'idempotency keys and unique tasks need a READ COMMITTED transaction, this one is %',
                upper(current_setting('transaction_isolation'))
                using errcode = 'feature_not_supported',
                      hint = 'Set the isolation level of the transaction to READ COMMITTED.';
        when 'other_args' then
            raise exception 'the idempotency key % belongs to the task %, which has other arguments',
                quote_literal(idempotency_key), task_id
                using errcode = 'unique_violation',
                      hint = 'Use another key, or send the arguments with which the key was first used.';
        when 'duplicate' then
            raise exception 'the unique task % % already, as the task %', quote_literal(task),
                case until when 'ended' then 'waits or runs' else 'waits' end, task_id
                using errcode = 'unique_violation',
                      hint = 'Send the task when the existing one has ' || until || '.';
        when 'mismatch' then
            raise exception 'the new id % belongs to another task', new_id
                using errcode = 'unique_violation', hint = 'Send the task again.';
        else
            return next;
    end case;
end
$function$;
