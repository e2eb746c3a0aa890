-- Purpose: The registered workers and the number of tasks that each holds.
-- Version: 1.
-- Granted to: viewer, operator.
create view horsies.worker_status as
select s.id, s.hostname, s.pid, s.process_name, s.library_version, s.processes, s.concurrency, s.queues,
       s.task_names, s.started_at, s.heartbeat_at, case when s.is_stale then 'silent' else 'live' end as state,
       s.claimed, s.running, s.clock_skew as clock_skew_s
from horsies.worker_stats() as s;
