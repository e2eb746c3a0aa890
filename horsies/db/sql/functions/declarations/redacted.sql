-- Purpose: Return a copy of a document with "[redacted]" at some paths: an array of arrays with the names of the
-- members of objects, indexes in the items of arrays, and '*' for all members or items. A name also applies to all
-- items of an array. Another value where a path expects an object or an array is replaced; null is not secret. Python
-- follows the same rules (horsies/codec/secrets.py).
--
-- PostgreSQL refuses to read the members of an object with a NUL. As in `compared_arguments`, a copy without NUL is
-- read then, and the names in the paths are changed like those in the copy.
--
-- Locks: none.
-- Called by: send, workflow_send_items.
-- Granted to: nobody.
create function horsies.redacted(document json, paths jsonb) returns json
language plpgsql stable as $function$
declare
    backslash constant text := chr(92);
    nul constant text := backslash || 'u0000';
    one constant text := backslash || 'u0001';
    kind constant text := json_typeof(document);
    members text;
begin
    if strpos(document::text, nul) > 0 then
        return replace(replace(replace(
            horsies.redacted(
                replace(replace(replace(document::text, backslash || backslash, backslash || 'u005c'),
                                one, one || 'b'), nul, one || 'a')::json,
                replace(replace(paths::text, backslash || backslash, backslash || 'u005c'),
                        one, one || 'b')::jsonb)::text,
            one || 'a', nul), one || 'b', one), backslash || 'u005c', backslash || backslash);
    elsif kind = 'null' then
        return document;
    elsif kind not in ('object', 'array')
          or exists (select from jsonb_array_elements(paths) as p (path) where jsonb_array_length(p.path) = 0) then
        return '"[redacted]"';
    elsif kind = 'object' then
        select string_agg(to_json(member.key)::text || ':' || case
                   when member.rest is null then member.value
                   else horsies.redacted(member.value, member.rest) end::text, ',' order by member.place)
        into members
        from (
            select each.key, each.value, each.place,
                   (select jsonb_agg(p.path - 0) from jsonb_array_elements(paths) as p (path)
                    where p.path ->> 0 in (each.key, '*')) as rest
            from json_each(document) with ordinality as each (key, value, place)
        ) as member;
        return '{' || coalesce(members, '') || '}';
    end if;
    select string_agg(case
               when item.rest is null then item.value
               else horsies.redacted(item.value, item.rest) end::text, ',' order by item.place)
    into members
    from (
        select each.value, each.place,
               (select jsonb_agg(case when p.path ->> 0 in ((each.place - 1)::text, '*') then p.path - 0
                                      else p.path end)
                from jsonb_array_elements(paths) as p (path)
                where p.path ->> 0 = (each.place - 1)::text or p.path ->> 0 !~ '^[0-9]+$') as rest
        from json_array_elements(document) with ordinality as each (value, place)
    ) as item;
    return '[' || coalesce(members, '') || ']';
end
$function$;
