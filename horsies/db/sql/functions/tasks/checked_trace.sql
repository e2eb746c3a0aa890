-- Purpose: Return the members of a trace context that tasks carry. A program may pass on what a client has sent, so a
-- trace context that is not valid is ignored, as W3C Trace Context demands, and does not make a send fail: without a
-- valid `traceparent`, null is returned. Of a trace context that is too large, the baggage is left out, and if that is
-- not enough, the `tracestate` as well. Only a value that is no JSON object is an error of the program.
--
-- A NUL is checked first, because PostgreSQL refuses to read the members of an object with one.
-- Locks: none.
-- Called by: send.
-- Granted to: nobody.
create function horsies.checked_trace(trace json) returns json
language plpgsql stable as $function$
declare
    max_bytes constant int := 8192;
    parent text;
    names text[];
    found json;
begin
    if trace is null then
        return null;
    elsif json_typeof(trace) <> 'object' then
        raise exception 'the trace context is not a JSON object, but of the type %', json_typeof(trace)
            using errcode = 'invalid_parameter_value',
                  hint = 'Pass a JSON object such as {"traceparent": "00-<32 hex digits>-<16 hex digits>-01"}, or '
                         'omit trace_context.';
    elsif strpos(trace::text, chr(92) || 'u0000') > 0 then
        return null;
    end if;
    parent := trace ->> 'traceparent';
    if parent is null or parent !~ '^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$' then
        return null;
    end if;
    foreach names slice 1 in array array[array['tracestate', 'baggage'], array['tracestate', null]] loop
        found := json_strip_nulls(json_build_object(
            'traceparent', parent, 'tracestate', trace ->> names[1], 'baggage', trace ->> names[2]));
        if octet_length(found::text) <= max_bytes then
            return found;
        end if;
    end loop;
    return json_build_object('traceparent', parent);
end
$function$;
