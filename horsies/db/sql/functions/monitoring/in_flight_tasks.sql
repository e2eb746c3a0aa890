-- Purpose: List the tasks that workers hold, claimed or running, of one queue (null: of any queue): at most `most`,
-- those that have been held for the longest time first. It reads the index of such tasks, so waiting and ended tasks
-- cost nothing. `clock` is the time of the answer.
-- Planner settings: see docs/architecture.md.
-- Locks: none.
-- Called by: queries/status.py.
-- Granted to: viewer, operator.
create function horsies.in_flight_tasks(wanted_queue text, most int) returns table (
    id uuid, queue text, task_name text, status text, worker_id uuid, process_name text, attempt int,
    claimed_at timestamptz, started_at timestamptz, clock timestamptz
)
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set enable_seqscan = off set jit = off
as $function$
declare
    this_moment constant timestamptz := horsies.now();
begin
    return query
    select t.id, t.queue, t.task_name, t.status, t.worker_id, w.process_name, t.attempt, t.claimed_at, t.started_at,
           this_moment
    from horsies.tasks t left join horsies.workers w on w.id = t.worker_id
    where t.status <> 'PENDING' and (wanted_queue is null or t.queue = wanted_queue)
    order by coalesce(t.started_at, t.claimed_at), t.id limit most;
end
$function$;
