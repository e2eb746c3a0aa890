-- Purpose: Refuse arguments that the declaration of a task does not allow: a required argument is missing, or a name
-- is not that of a parameter. The values are checked by the worker, which alone has the types.
-- Locks: none.
-- Called by: send.
-- Granted to: nobody.
create function horsies.check_arguments(task text, args json, parameter_names text[], required_names text[])
returns void
language plpgsql as $function$
declare
    given constant text[] := horsies.argument_names(args);
    missing constant text[] :=
        array(select each.name from unnest(required_names) as each (name) where each.name <> all (given));
    unknown constant text[] :=
        array(select each.name from unnest(given) as each (name) where each.name <> all (parameter_names));
    described constant text := case
        when cardinality(parameter_names) = 0 then 'the task has no parameters'
        else 'the parameters of the task are ' || (
            select string_agg(each.name || case when each.name = any (required_names) then '' else ' (optional)' end,
                              ', ' order by each.place)
            from unnest(parameter_names) with ordinality as each (name, place))
    end;
begin
    if cardinality(missing) > 0 then
        raise exception 'the task % is missing the argument %', quote_literal(task), quote_literal(missing[1])
            using errcode = 'invalid_parameter_value', hint = described;
    end if;
    if cardinality(unknown) > 0 then
        raise exception 'the task % has no parameter %', quote_literal(task), quote_literal(unknown[1])
            using errcode = 'invalid_parameter_value', hint = described;
    end if;
end
$function$;
