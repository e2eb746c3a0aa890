-- Purpose: The live and the ended tasks, without arguments, results and progress. Both parts read one table each and
-- have no condition, so that PostgreSQL can push conditions and the order by id down into the tables and partitions.
-- Version: 1.
-- Granted to: viewer, operator.
create view horsies.all_tasks as
select t.id, t.task_name, t.queue, t.priority::int as priority, t.status, t.attempt,
       coalesce((t.retry_policy ->> 'max_retries')::int, 0) as max_retries, null::text as error_code,
       t.sent_at, t.run_at, t.good_until, t.claimed_at, t.started_at, null::timestamptz as finished_at, t.timeout_ms,
       t.task_key, t.worker_id,
       case when t.worker_id is not null
            then (select w.hostname from horsies.workers w where w.id = t.worker_id) end as worker_hostname,
       case when t.worker_id is not null
            then (select w.pid from horsies.workers w where w.id = t.worker_id) end as worker_pid,
       case when t.worker_id is not null
            then (select w.process_name from horsies.workers w where w.id = t.worker_id) end as worker_process_name,
       t.workflow_id as run_id, t.root_id as root_run_id, t.node_index, t.rerun_of
from horsies.tasks t
union all
select h.id, h.task_name, h.queue, h.priority::int, h.status, h.attempt,
       coalesce((h.retry_policy ->> 'max_retries')::int, 0), h.error_code,
       h.sent_at, h.run_at, h.good_until, h.claimed_at, h.started_at, h.finished_at, h.timeout_ms,
       h.task_key, h.worker_id, h.worker_hostname, h.worker_pid, h.worker_process_name,
       h.workflow_id, h.root_id, h.node_index, h.rerun_of
from horsies.history h;
