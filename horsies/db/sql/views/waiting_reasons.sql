-- Purpose: The numbers of waiting tasks by queue, name and reason.
-- Version: 1.
-- Granted to: viewer, operator.
create view horsies.waiting_reasons as
select r.queue, r.task_name, r.reason, r.tasks, r.accuracy, r.counted_at, r.clock as as_of
from horsies.waiting_reasons() as r;
