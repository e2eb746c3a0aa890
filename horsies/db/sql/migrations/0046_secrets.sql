-- Secret arguments and results. The columns `args` and `result` have "[redacted]" in the place of secrets. If there
-- are secrets, the complete document is in the columns of this file, which only `claim` and `task_result` return.
alter table horsies.tasks add column secret_args json;
alter table horsies.history add column secret_args json, add column secret_result json;
alter table horsies.schedules add column secret_args json;

-- The paths to the secret arguments of a task: an array of arrays of names. Null: it has none.
alter table horsies.declarations add column secret_paths jsonb;
