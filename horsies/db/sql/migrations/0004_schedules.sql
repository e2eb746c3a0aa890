-- Tasks that are sent again and again. When and with what is the app's, and copied here for whoever looks or runs one by
-- hand; what became of it is the database's.
create table horsies.schedules (
    name text primary key,
    config_hash text not null,                          -- of the app's definition: another one counts anew from now
    pattern text not null,                              -- in words
    timezone text not null,
    task_name text not null,
    queue text not null,
    priority smallint not null constraint schedules_priority_is_from_1_to_100 check (priority between 1 and 100),
    args json not null,
    retry_policy json,
    timeout_ms int,
    fingerprint bytea not null,                         -- of what is sent
    next_run_at timestamptz,                            -- null: it is not enabled
    last_run_at timestamptz,
    last_task_id uuid,
    run_count bigint not null default 0,
    paused boolean not null default false,
    resumed_at timestamptz                              -- what was due before was let pass
);
