-- Purpose: The state of all queues that have tasks, live workers or settings, one row each.
-- Version: 1.
-- Granted to: viewer, operator.
create view horsies.queue_status as
select s.name as queue, s.waiting, s.waiting_accuracy, s.scheduled, s.scheduled_accuracy, s.counted_at, s.held,
       s.claimed, s.running, s.oldest_due_at, s.paused, s.held_until, s.max_concurrency, s.workers, s.clock as as_of
from horsies.queue_status(array[]::text[]) as s;
