-- Purpose: Return the status of a task, and its result (a TaskError unless COMPLETED) once it has ended, with its
-- secrets only for users who may see them. No row means that there is no such task. Live rows are searched first,
-- because a task only ever moves from there to history.
-- Planner settings: see docs/architecture.md.
-- Locks: none.
-- Called by: queries/tasks.py.
-- Granted to: producer, worker, arguments.
create function horsies.task_result(wanted uuid) returns table (task_name text, status text, result json)
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set enable_seqscan = off
as $function$
begin
    return query select t.task_name, t.status, null::json from horsies.tasks t where t.id = wanted;
    if not found then
        return query
            select h.task_name, h.status, case
                when h.secret_result is not null and horsies.sees_secrets() then h.secret_result else h.result end
            from horsies.find_ended(wanted) h;
    end if;
end
$function$;
