-- Purpose: Return whether the user of the session may see arguments, results and errors: everybody who may read
-- results by `task_result` may. The user of the session counts, because inside of an entry point the current user is
-- the owner.
-- Locks: none.
-- Called by: list_keys, run_facts, task_attempts, task_info, why_regulated, workflow_state, workflow_tasks.
-- Granted to: nobody.
create function horsies.sees_arguments() returns boolean
language sql stable as $function$
    select has_function_privilege(session_user, to_regprocedure('{horsies}.task_result(uuid)'), 'execute')
$function$;
