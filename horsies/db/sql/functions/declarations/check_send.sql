-- Purpose: Refuse arguments of `send` that no task could have, with messages that say what is wrong.
-- Locks: none.
-- Called by: send.
-- Granted to: nobody.
create function horsies.check_send(
    task text, args json, queue text, priority int, delay interval, idempotency_key text, key text
) returns void
language plpgsql as $function$
declare
    problem text;
    fix text;
begin
    perform horsies.check_key(key, task);
    if coalesce(task, '') = '' then
        problem := 'the name of the task is missing';
        fix := 'The first argument is the name of a task: {horsies}.send(''add_numbers'', ''{"a": 5, "b": 3}'')';
    elsif starts_with(task, 'horsies.') then
        problem := format('%L is a task of horsies itself', left(task, 80));
        fix := 'Send a task of the app. Names that begin with ''horsies.'' are reserved.';
    elsif octet_length(task) > 1024 then
        problem := format('the name of the task has %s bytes, more than 1024', octet_length(task));
        fix := 'Pass the name of a task of the app.';
    elsif args is null or json_typeof(args) <> 'object' then
        problem := format('the arguments of the task %L are not a JSON object, but %s', task,
                          coalesce('of the type ' || json_typeof(args), 'the SQL value null'));
        fix := 'Pass the arguments by name, for example ''{"a": 5}'' or json_build_object(''a'', 5).';
    elsif octet_length(queue) not between 1 and 128 or queue ~ '[[:space:][:cntrl:],]' then
        problem := format('%L is not a valid name of a queue', queue);
        fix := 'Use a queue of the app: 1 to 128 bytes without spaces and commas.';
    elsif priority not between 1 and 100 then
        problem := format('the priority must be from 1 (highest) to 100, got %s', priority);
        fix := 'Omit the priority to use that of the queue.';
    elsif octet_length(idempotency_key) not between 1 and 512 then
        problem := format('the idempotency key must have 1 to 512 bytes, got %s', octet_length(idempotency_key));
        fix := 'Omit the key, or build it from what identifies the request, such as ''order-'' || new.id.';
    elsif delay not between make_interval() and make_interval(years => 100) then
        problem := format('the delay must be from 0 to 100 years, got %s', delay);
        fix := 'Pass an interval such as ''5 minutes'', or omit the delay.';
    end if;
    if problem is not null then
        raise exception '%', problem using errcode = 'invalid_parameter_value', hint = fix;
    end if;
end
$function$;
