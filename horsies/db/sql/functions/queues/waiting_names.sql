-- Purpose: List the task names that have waiting tasks, by queue, with their number (counted up to `most`) and
-- whether a live worker has registered the name and serves the queue. Tasks that a paused workflow holds do not
-- count. A skip scan visits the pairs of name and queue in the index `tasks_by_name`, with one probe for each.
-- Planner settings: see docs/architecture.md.
-- Locks: none.
-- Called by: queries/monitoring.py.
-- Granted to: worker, viewer, operator.
create function horsies.waiting_names(most int)
returns table (task_name text, queue text, waiting int, is_served boolean)
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $function$
begin
    return query
    with recursive pair as (
        (select t.task_name, t.queue from horsies.tasks t
         where t.exchange_no is null and not t.held order by t.task_name, t.queue limit 1)
        union all
        select following.* from pair cross join lateral (
            select t.task_name, t.queue from horsies.tasks t
            where t.exchange_no is null and not t.held and (t.task_name, t.queue) > (pair.task_name, pair.queue)
            order by t.task_name, t.queue limit 1
        ) as following
    )
    select pair.task_name, pair.queue, counted.waiting::int,
           exists (select from horsies.workers w
                   where pair.task_name = any (w.task_names) and pair.queue = any (w.queues))
    from pair cross join lateral (
        select count(*) as waiting from (
            select from horsies.tasks t
            where t.exchange_no is null and not t.held and t.task_name = pair.task_name and t.queue = pair.queue
            limit most
        ) as few
    ) as counted;
end
$function$;
