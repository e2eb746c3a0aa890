-- Tasks that are sent repeatedly. The app defines them; the definition is copied here for commands that show a schedule
-- or run it by hand. The state of a schedule exists only in the database.
create table horsies.schedules (
    name text primary key,
    config_hash text not null,                          -- of the definition; a change restarts the schedule
    pattern text not null,                              -- a description in words
    timezone text not null,
    task_name text not null,
    queue text not null,
    priority smallint not null constraint schedules_priority_is_from_1_to_100 check (priority between 1 and 100),
    args json not null,
    retry_policy json,
    timeout_ms int,
    fingerprint bytea not null,                         -- of the task that is sent
    next_run_at timestamptz,                            -- null: the schedule is not enabled
    last_run_at timestamptz,
    last_task_id uuid,
    run_count bigint not null default 0,
    paused boolean not null default false,
    resumed_at timestamptz                              -- earlier due times were skipped
);
