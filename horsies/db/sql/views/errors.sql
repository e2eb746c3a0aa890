-- Purpose: The 1,000 error groups with the most failed attempts of the last 24 hours.
-- Version: 1.
-- Granted to: viewer, operator.
create view horsies.errors as
select g.id, g.task_name, g.error_code, g.frame, g.message, g.is_other, g.first_seen, g.last_seen,
       g.example_id as example_task_id, g.number as failures_in_24_hours, g.errors_since as known_since,
       g.errors_until as known_until, g.clock as as_of
from horsies.error_groups(null, null, null, null, 1000) as g
where g.id is not null;
