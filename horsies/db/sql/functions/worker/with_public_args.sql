-- Purpose: Return the inputs of a task (see `workflow_inputs`) with its public arguments, from which the child learns
-- what is secret in the complete ones. The signature of a task does not say this for the items and results of a
-- workflow run that contain secrets. Without public arguments, the inputs are returned as they are.
-- Locks: none.
-- Called by: take.
-- Granted to: nobody.
create function horsies.with_public_args(inputs json, public_args json) returns json
language sql stable as $function$
    select case when public_args is null then inputs
                else (left(coalesce(inputs, '{"workflow_id":null,"index":null,"args_from":{},"ctx":null}')::text, -1)
                      || ',"public_args":' || public_args || '}')::json end
$function$;
