-- Purpose: The live tasks, without arguments and progress. The worker of a task is the one that has claimed it.
-- Version: 1.
-- Granted to: viewer, operator.
create view horsies.live_tasks as
select t.id, t.task_name, t.queue, t.priority::int as priority, t.status, t.held, t.attempt,
       coalesce((t.retry_policy ->> 'max_retries')::int, 0) as max_retries,
       t.status = 'PENDING' and t.attempt > 0 as waits_for_retry,
       t.sent_at, t.run_at, t.good_until, t.claimed_at, t.started_at, t.timeout_ms, t.task_key, t.worker_id,
       case when t.worker_id is not null
            then (select w.hostname from horsies.workers w where w.id = t.worker_id) end as worker_hostname,
       case when t.worker_id is not null
            then (select w.pid from horsies.workers w where w.id = t.worker_id) end as worker_pid,
       case when t.worker_id is not null
            then (select w.process_name from horsies.workers w where w.id = t.worker_id) end as worker_process_name,
       t.workflow_id as run_id, t.root_id as root_run_id, t.node_index, t.rerun_of
from horsies.tasks t;
