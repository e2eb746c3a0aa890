-- Purpose: List the finished attempts of a task, newest first. The attempt that ended the task is read from history.
-- Errors are null for users who may not see arguments.
-- Planner settings: see docs/architecture.md.
-- Locks: none.
-- Called by: queries/tasks.py.
-- Granted to: producer, worker, viewer, operator.
create function horsies.task_attempts(wanted uuid) returns table (
    attempt int, outcome text, will_retry boolean, started_at timestamptz, finished_at timestamptz,
    error_code text, error json, worker_hostname text, worker_pid int, worker_process_name text
)
security definer set search_path = pg_catalog, pg_temp
language sql volatile
set enable_seqscan = off
as $function$
    select h.attempt,
           case when h.status = 'COMPLETED' then 'COMPLETED'
                when h.error_code = 'WORKER_CRASHED' then 'WORKER_FAILURE' else 'FAILED' end,
           false, h.started_at, h.finished_at, h.error_code,
           case when h.status <> 'COMPLETED' and horsies.sees_arguments() then h.result end, h.worker_hostname,
           h.worker_pid, h.worker_process_name
    from horsies.find_ended(wanted) h
    where h.started_at is not null
    union all
    select a.attempt, a.outcome, true, a.started_at, a.finished_at, a.error_code,
           case when horsies.sees_arguments() then a.error end, a.worker_hostname,
           a.worker_pid, a.worker_process_name
    from horsies.attempts a where a.task_id = wanted
    order by 1 desc
$function$;
