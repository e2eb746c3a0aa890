-- Purpose: The workflow runs and their child runs, without errors.
-- Version: 1.
-- Granted to: viewer, operator.
create view horsies.runs as
select w.id, w.root_id as root_run_id, w.parent_id as parent_run_id, w.parent_index, w.name, w.definition_key,
       w.status, w.on_error, w.total, w.completed, w.failed, w.skipped, w.failed_index, w.started_at, w.finished_at
from horsies.workflows w;
