-- Purpose: Return whether the user of the session may see secret results: producers and workers may, and the owner. A
-- viewer may not, also one who may see arguments. See `sees_arguments` about the user of the session.
-- Locks: none.
-- Called by: task_result, workflow_state, workflow_tasks.
-- Granted to: nobody.
create function horsies.sees_secrets() returns boolean
language sql stable as $function$
    select has_function_privilege(session_user, to_regprocedure('{horsies}.ended_among(uuid[])'), 'execute')
$function$;
