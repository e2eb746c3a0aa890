-- Purpose: Return the names of the members of a JSON object. PostgreSQL refuses to read an object in which any text
-- contains the escape of NUL, which JSON and Python allow. Only the names are needed here, so that escape is replaced
-- by another one in a copy. Before that, each escaped backslash is replaced by its other escape, so that a backslash
-- always begins an escape. The backslash is written as chr(92), because literals with backslashes depend on settings.
-- Locks: none.
-- Called by: check_arguments.
-- Granted to: nobody.
create function horsies.argument_names(args json) returns text[]
language sql stable as $function$
    select array(select json_object_keys(
        case when strpos(args::text, chr(92) || 'u0000') = 0 then args
             else replace(replace(args::text, chr(92) || chr(92), chr(92) || 'u005c'),
                          chr(92) || 'u0000', chr(92) || 'u2400')::json end))
$function$;
