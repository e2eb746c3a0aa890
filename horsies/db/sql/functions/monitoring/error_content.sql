-- Purpose: Return the properties of a TaskError by which errors are grouped: the innermost frame of the user's code in
-- its traceback, as file and function, and its message, in which ids, numbers and white space are replaced, at most
-- 200 characters. Both are '' if there is none. Errors contain arbitrary text. So only a bounded part of it is
-- searched, and text that PostgreSQL cannot represent (such as the escape of a NUL) is replaced before the JSON is
-- read, unless the error is longer than 1 MB: then both are ''.
--
-- A frame of an installed package is used only if there is none of other code, and one of the standard library only if
-- there is no other at all.
-- Locks: none.
-- Called by: sample_errors.
-- Granted to: nobody.
create function horsies.error_content(error json) returns table (frame text, message text)
language plpgsql stable as $function$
declare
    most_searched constant int := 20000;
    most_replaced constant int := 1000000;
    most_letters constant int := 200;
    readable json := error;
    trace text;
begin
    begin
        message := readable ->> 'message';
        trace := readable -> 'exception' ->> 'traceback';
    exception when others then
        if octet_length(error::text) > most_replaced then
            raise;
        end if;
        -- Pairs of backslashes are set aside, because the second one of a pair begins no escape.
        readable := replace(regexp_replace(replace(error::text, E'\\\\', E'\u0001'),
                                           E'\\\\u(0000|[dD][89a-fA-F][0-9a-fA-F]{2})', '?', 'g'),
                            E'\u0001', E'\\\\')::json;
        message := readable ->> 'message';
        trace := readable -> 'exception' ->> 'traceback';
    end;
    if length(trace) > 2 * most_searched then
        trace := left(trace, most_searched) || E'\n' || right(trace, most_searched);
    end if;
    select left(right(place.file, 150) || ' in ' || place.name, most_letters) into frame
    from (
        select r.nth, split_part(r.line, '"', 2) as file, split_part(r.line, ', in ', 2) as name,
               replace(split_part(r.line, '"', 2), E'\\', '/') as path
        from unnest(string_to_array(trace, E'\n')) with ordinality as r (line, nth)
        where ltrim(r.line, ' |+') like 'File "_%", line _%, in _%'
    ) as place
    order by case when place.path like '%/site-packages/%' or place.path like '%/dist-packages/%' then 1
                  when place.path like '<%' or place.path like '%/lib/python3%' or place.path like '%/Lib/%' then 2
                  else 0 end, place.nth desc
    limit 1;
    frame := coalesce(frame, '');
    message := regexp_replace(left(coalesce(message, ''), 2000), E'\\s+', ' ', 'g');
    message := regexp_replace(message, E'\\m[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\\M', '#', 'g');
    message := regexp_replace(message, E'\\m(?=\\w*[0-9])\\w{12,}\\M', '#', 'g');
    message := regexp_replace(message, E'\\m(0x)?(?=[a-fA-F]*[0-9])[0-9a-fA-F]{6,}\\M', '#', 'g');
    message := regexp_replace(message, '[0-9]+', '#', 'g');
    message := btrim(left(message, most_letters));
    return next;
exception when others then
    frame := '';
    message := '';
    return next;
end
$function$;
