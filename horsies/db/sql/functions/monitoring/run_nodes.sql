-- Purpose: List the nodes of a run in the order of its spec, with the tasks, the items and the child runs that belong
-- to them, and without arguments and results. A node is RUNNING from the first start of its task, including the time
-- between attempts. `needed` is the number of dependencies that must complete (null: all). The joins are nested loops
-- over primary keys, so the cost depends on the number of nodes only.
-- Planner settings: see docs/architecture.md.
-- Locks: none.
-- Called by: queries/runs.py.
-- Granted to: viewer, operator.
create function horsies.run_nodes(run uuid) returns table (
    index int, node_id text, kind text, task_name text, queue text, status text, error_code text, waits_for int[],
    needed int, task_id uuid, child_id uuid, child_status text, child_total int, child_ended int, items int,
    open_items int, started_at timestamptz, finished_at timestamptz
)
security definer set search_path = pg_catalog, pg_temp
language sql stable
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $function$
    select n.index, n.node_id, n.kind, n.task_name, n.queue, case
               when n.status in ('READY', 'ENQUEUED')
                    and (n.child_id is not null or n.open_items is not null or coalesce(t.attempt, 0) > 0)
                   then 'RUNNING'
               else n.status end,
           n.error_code, n.waits_for, n.needed, n.task_id, c.id, c.status, c.total,
           c.completed + c.failed + c.skipped, n.items, n.open_items, coalesce(n.started_at, t.started_at),
           n.finished_at
    from horsies.workflow_nodes n
    left join horsies.tasks t on n.status = 'ENQUEUED' and t.id = n.task_id
    left join horsies.workflows c on c.id = n.child_id
    where n.workflow_id = run
    order by n.index
$function$;
