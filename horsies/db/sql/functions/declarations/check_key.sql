-- Purpose: Refuse a key of a task that has more than 200 characters, or none. Null is no key.
-- Locks: none.
-- Called by: check_send, send.
-- Granted to: nobody.
create function horsies.check_key(key text, task text) returns void
language plpgsql as $function$
begin
    if length(key) not between 1 and 200 then
        raise exception 'the key of the task % must have 1 to 200 characters, got %', quote_literal(task), length(key)
            using errcode = 'invalid_parameter_value',
                  hint = 'Use a short name, such as the id of a tenant. Omit the key if the task has none.';
    end if;
end
$function$;
