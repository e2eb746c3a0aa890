-- Purpose: The nodes of workflow runs, without inputs and results. The status is that of `workflow_tasks`: a node is
-- RUNNING from the first start of its task, including the time between attempts.
-- Version: 1.
-- Granted to: viewer, operator.
create view horsies.run_nodes as
select n.workflow_id as run_id, n.index, n.node_id, n.kind, n.task_name, n.queue, n.priority::int as priority,
       case when n.status in ('READY', 'ENQUEUED')
                 and (n.child_id is not null or n.open_items is not null or coalesce(t.attempt, 0) > 0)
                then 'RUNNING' else n.status end as status,
       n.error_code, n.waits_for, n.task_id, n.child_id as child_run_id, n.items, n.sent_items, n.open_items,
       coalesce(n.started_at, t.started_at) as started_at, n.finished_at
from horsies.workflow_nodes n left join horsies.tasks t on n.status = 'ENQUEUED' and t.id = n.task_id;
