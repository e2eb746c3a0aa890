-- Purpose: Return everything that is known about one task, live or ended, with its arguments only on request.
-- Arguments and results are null for users who may not see them. `retry_count` is the number of retries that have
-- begun or are due. The last attempt of an ended task is the task itself. `reruns` are the tasks as which an ended
-- task was sent again, the first one first.
-- Planner settings: see docs/architecture.md.
-- Locks: none.
-- Called by: queries/monitoring.py, queries/tasks.py.
-- Granted to: producer, worker, viewer, operator.
create function horsies.task_info(wanted uuid, with_args boolean) returns table (
    id uuid, task_name text, status text, queue text, priority int, attempt int, max_retries int,
    waits_for_retry boolean, sent_at timestamptz, run_at timestamptz, claimed_at timestamptz,
    started_at timestamptz, finished_at timestamptz, good_until timestamptz, worker_hostname text,
    worker_pid int, worker_process_name text, error_code text, progress json, rerun_of uuid, reruns uuid[],
    args json, result json, postponed json, task_key text
)
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set enable_seqscan = off
as $function$
declare
    is_open constant boolean := horsies.sees_arguments();
begin
    return query
    select t.id, t.task_name, t.status, t.queue, t.priority::int, t.attempt,
           coalesce((t.retry_policy ->> 'max_retries')::int, 0), t.status = 'PENDING' and t.attempt > 0,
           t.sent_at, t.run_at, t.claimed_at, t.started_at, null::timestamptz, t.good_until, w.hostname, w.pid,
           w.process_name, null::text, t.progress, t.rerun_of, '{}'::uuid[],
           case when with_args and is_open then t.args end, null::json,
           case when is_open then t.postponed else (t.postponed::jsonb - 'message')::json end, t.task_key
    from horsies.tasks t left join horsies.workers w on w.id = t.worker_id
    where t.id = wanted;
    if not found then
        return query
        select h.id, h.task_name, h.status, h.queue, h.priority::int, h.attempt,
               coalesce((h.retry_policy ->> 'max_retries')::int, 0), false,
               h.sent_at, h.run_at, h.claimed_at, h.started_at, h.finished_at, h.good_until, h.worker_hostname,
               h.worker_pid, h.worker_process_name, h.error_code, h.progress, h.rerun_of,
               array(select r.task_id from horsies.reruns r where r.origin = wanted order by r.sent_at, r.task_id),
               case when with_args and is_open then h.args end,
               case when is_open then h.result end,
               case when is_open then h.postponed else (h.postponed::jsonb - 'message')::json end, h.task_key
        from horsies.find_ended(wanted) h;
    end if;
end
$function$;
