-- Purpose: Return the members of a trace context that tasks carry, or raise an error that says what is wrong with it.
-- Locks: none.
-- Called by: send.
-- Granted to: nobody.
create function horsies.checked_trace(trace json) returns json
language plpgsql stable as $function$
declare
    max_bytes constant int := 8192;
    problem text;
begin
    if trace is null then
        return null;
    elsif json_typeof(trace) <> 'object' then
        problem := 'is not a JSON object, but of the type ' || json_typeof(trace);
    elsif trace ->> 'traceparent' is null then
        problem := 'has no traceparent';
    elsif trace ->> 'traceparent' !~ '^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$' then
        problem := format('has the invalid traceparent %L', left(trace ->> 'traceparent', 80));
    elsif octet_length(trace::text) > max_bytes then
        problem := format('has %s bytes, more than %s', octet_length(trace::text), max_bytes);
    end if;
    if problem is not null then
        raise exception 'the trace context %', problem
            using errcode = 'invalid_parameter_value',
                  hint = 'Pass a JSON object such as {"traceparent": "00-<32 hex digits>-<16 hex digits>-01"}, or '
                         'omit trace_context.';
    end if;
    return json_strip_nulls(json_build_object(
        'traceparent', trace ->> 'traceparent', 'tracestate', trace ->> 'tracestate', 'baggage', trace ->> 'baggage'));
end
$function$;
