-- All tasks that were sent, without the nodes of workflows and built-in tasks, in the order in which they were sent.
select t.id, t.task_name, t.queue, t.priority, t.status, coalesce(t.secret_args, t.args), t.sent_at, t.run_at,
       t.good_until
from horsies.tasks t where t.workflow_id is null and not starts_with(t.task_name, 'horsies.')
union all
select h.id, h.task_name, h.queue, h.priority, h.status, coalesce(h.secret_args, h.args), h.sent_at, h.run_at,
       h.good_until
from horsies.history h where h.workflow_id is null and not starts_with(h.task_name, 'horsies.')
order by 7, 1
