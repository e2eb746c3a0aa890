-- The tables of the task queue. Only the functions in ../functions change their rows.

create table horsies.schema_version (
    version int not null,
    functions_hash text not null,
    library_version text not null,
    migrated_at timestamptz not null default clock_timestamp()
);
create unique index schema_version_is_one_row on horsies.schema_version ((true));

-- Tests move time with this table. In the databases of tests, horsies.now() is replaced by a function that reads it.
create table horsies.clock (
    frozen_at timestamptz,
    shift interval not null default '0'
);
create unique index clock_is_one_row on horsies.clock ((true));

-- Live tasks only. The transaction that ends a task moves it to `history`. So this table contains only tasks that wait
-- or run, and claims stay fast.
create table horsies.tasks (
    id uuid primary key,                                -- a UUIDv7 that the sender makes
    task_name text not null,
    queue text not null,
    priority smallint not null constraint priority_is_from_1_to_100 check (priority between 1 and 100),
    args json not null,                                 -- json instead of jsonb preserves the bytes
    status text not null default 'PENDING'
        constraint status_is_live check (status in ('PENDING', 'CLAIMED', 'RUNNING')),
    held boolean not null default false,                -- waiting because its workflow run is paused
    run_at timestamptz not null,
    good_until timestamptz,
    attempt int not null default 0 constraint attempt_counts_up_from_0 check (attempt >= 0),
    hand_backs int not null default 0,                  -- claims whose worker died before it started the task
    retry_policy json,
    timeout_ms int constraint timeout_is_at_least_100_ms check (timeout_ms >= 100),
    worker_id uuid,                                     -- worker_id and exchange_no are the fence of the claim
    exchange_no bigint,
    lease_until timestamptz,
    sent_at timestamptz not null,
    claimed_at timestamptz,
    started_at timestamptz,
    fingerprint bytea not null,
    idempotency_key text,
    progress json,
    workflow_id uuid,
    node_index int,
    root_id uuid,
    rerun_of uuid,
    constraint waiting_has_no_fence
        check ((status = 'PENDING') = (worker_id is null) and (worker_id is null) = (exchange_no is null)),
    constraint running_has_begun check ((status = 'RUNNING') = (started_at is not null)),
    constraint node_belongs_to_a_workflow
        check ((workflow_id is null) = (node_index is null) and (workflow_id is null) = (root_id is null))
) with (
    fillfactor = 70,
    autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_analyze_threshold = 5000, autovacuum_vacuum_cost_delay = 0
);
create index tasks_to_claim on horsies.tasks (queue, priority, run_at, id) where status = 'PENDING' and not held;
-- For searches by name. Its condition selects waiting rows by `exchange_no is null`, which a constraint makes
-- equivalent to PENDING. With the condition of `tasks_to_claim`, the planner would search that index for a rare name as
-- well, because the statistics do not show that the name is rare.
create index tasks_by_name on horsies.tasks (task_name, queue, priority, run_at, id)
    where exchange_no is null and not held;
create index tasks_in_hand on horsies.tasks (worker_id) where status <> 'PENDING';
create index tasks_with_a_deadline on horsies.tasks (good_until) where good_until is not null;

-- Ended tasks, append-only, with one partition for each day (UTC) on which tasks ended. Old partitions are dropped.
create table horsies.history (
    id uuid not null,
    task_name text not null,
    queue text not null,
    priority smallint not null,
    args json not null,
    status text not null
        constraint status_is_terminal check (status in ('COMPLETED', 'FAILED', 'CANCELLED', 'EXPIRED')),
    result json not null,                               -- the value if COMPLETED, else the TaskError
    error_code text constraint error_code_unless_completed check ((status = 'COMPLETED') = (error_code is null)),
    run_at timestamptz not null,
    good_until timestamptz,
    attempt int not null,
    retry_policy json,
    timeout_ms int,
    worker_id uuid,
    exchange_no bigint,
    worker_hostname text,
    worker_pid int,
    worker_process_name text,
    sent_at timestamptz not null,
    claimed_at timestamptz,
    started_at timestamptz,
    finished_at timestamptz not null,
    fingerprint bytea not null,
    idempotency_key text,
    progress json,
    workflow_id uuid,
    node_index int,
    root_id uuid,
    rerun_of uuid,
    primary key (id, finished_at)
) partition by range (finished_at);
create table horsies.history_default partition of horsies.history default;

-- Attempts that did not end their task. The history row of a task describes its last attempt.
create table horsies.attempts (
    task_id uuid not null,
    attempt int not null,
    outcome text not null
        constraint outcome_is_a_failure check (outcome in ('FAILED', 'WORKER_FAILURE')),
    error json not null,
    error_code text not null,
    worker_id uuid not null,
    exchange_no bigint not null,
    worker_hostname text,
    worker_pid int,
    worker_process_name text,
    started_at timestamptz not null,
    finished_at timestamptz not null,
    primary key (task_id, attempt)
);

-- One row for each live worker. A worker without a row is dead, and its tasks are recovered.
create table horsies.workers (
    id uuid primary key,                                -- a new one at each start of a supervisor
    hostname text not null,
    pid int not null,
    process_name text not null,
    boot_id text not null,                              -- these three and pid prove a death on the same host
    pid_namespace text not null,
    process_start text not null,
    library_version text not null,
    processes int not null,
    concurrency int not null,
    queues text[] not null,
    task_names text[] not null,
    stale_after interval not null,
    started_at timestamptz not null,
    heartbeat_at timestamptz not null
);
