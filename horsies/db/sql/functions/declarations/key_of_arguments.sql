-- Purpose: Return the key of a task from its arguments. `key_by` is the name of a parameter or an array of names, and
-- `defaults` are the encoded defaults of parameters that were not passed. A string is its own key, another value its
-- JSON text, and several values are a compact JSON array. Null: the one parameter has no value, so there is no key.
-- Locks: none.
-- Called by: send, workflow_send_items.
-- Granted to: nobody.
create function horsies.key_of_arguments(args json, key_by json, defaults json) returns text
language plpgsql stable as $function$
declare
    is_one constant boolean := json_typeof(key_by) = 'string';
    names constant text[] := case when is_one then array[key_by #>> '{}']
                                  else array(select json_array_elements_text(key_by)) end;
    found constant json := horsies.compared_arguments(args, names, defaults);
begin
    if is_one then
        return found ->> names[1];
    end if;
    return (
        select '[' || string_agg(case json_typeof(found -> name.value)
                   when 'string' then to_json(found ->> name.value)::text
                   else coalesce((found -> name.value)::text, 'null') end, ',' order by name.place) || ']'
        from unnest(names) with ordinality as name (value, place)
    );
end
$function$;
