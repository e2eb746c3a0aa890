-- Purpose: Return the trace context of a task with the `traceparent` of the span of its latest attempt.
-- Locks: none.
-- Called by: finish_batch, move_to_history.
-- Granted to: nobody.
create function horsies.trace_with_attempt(context jsonb, attempt text) returns jsonb
language sql stable as $function$
    select coalesce(context, '{}') || jsonb_build_object('attempt', attempt)
$function$;
