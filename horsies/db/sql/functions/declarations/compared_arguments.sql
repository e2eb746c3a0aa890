-- Purpose: Return a JSON object of the arguments in which a unique task is compared, with the declared defaults of
-- those that were not passed. It has the order and the form of the one that Python makes.
--
-- PostgreSQL refuses to read an object in which any text contains the escape of NUL. Such an object is read in a copy
-- in which 0001 and a letter stand for NUL, and 0001 and another letter for 0001 itself; see `argument_names` about
-- backslashes.
--
-- Locks: none.
-- Called by: key_of_arguments, send_once.
-- Granted to: nobody.
create function horsies.compared_arguments(args json, names text[], defaults json) returns text
language plpgsql stable as $function$
declare
    backslash constant text := chr(92);
    nul constant text := backslash || 'u0000';
    one constant text := backslash || 'u0001';
    has_nul constant boolean := strpos(args::text, nul) > 0;
    readable constant json := case
        when has_nul then replace(replace(replace(
            args::text, backslash || backslash, backslash || 'u005c'), one, one || 'b'), nul, one || 'a')::json
        else args end;
    compared text;
begin
    select format('{%s}', string_agg(to_json(each.name)::text || ':' || each.value::text, ',' order by each.place))
    into compared
    from (
        select given.name, given.place, coalesce(readable -> given.name, defaults -> given.name) as value
        from unnest(names) with ordinality as given (name, place)
    ) as each
    where each.value is not null;
    return case
        when has_nul then replace(replace(replace(
            compared, one || 'a', nul), one || 'b', one), backslash || 'u005c', backslash || backslash)
        else compared end;
end
$function$;
