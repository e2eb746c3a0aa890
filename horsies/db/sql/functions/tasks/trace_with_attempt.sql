-- Purpose: Return the trace context of a task with the `traceparent` of the span of its latest attempt.
-- A trace context that is no object is replaced. `send` refuses it, but other functions store what they are given, and
-- no trace context may make a finish fail.
-- Locks: none.
-- Called by: finish_batch, move_to_history.
-- Granted to: nobody.
create function horsies.trace_with_attempt(context jsonb, attempt text) returns jsonb
language sql stable as $function$
    select case when jsonb_typeof(context) = 'object' then context else '{}' end
           || jsonb_build_object('attempt', attempt)
$function$;
