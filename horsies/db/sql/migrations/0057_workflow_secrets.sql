-- Secrets of nodes and items of workflow runs, and of schedules of unique tasks. As in `tasks` and history, columns
-- like `args`, `result`, `summary` and `value` have "[redacted]" in the place of secrets. The columns of this file have
-- the complete documents, and are null if nothing is secret.
alter table horsies.workflow_nodes
    add column secret_args json,
    add column secret_result json,
    add column secret_summary json,
    -- Of maps whose items are secret arguments: the paths to them, an array of arrays of names.
    add column secret_paths jsonb;
alter table horsies.workflow_items add column secret_value json, add column secret_result json;
-- The arguments that are compared, if the task has secret arguments; `unique_args` is null then.
alter table horsies.schedules add column secret_unique_args json;
