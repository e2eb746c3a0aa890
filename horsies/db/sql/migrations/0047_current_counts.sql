-- Counts of attempts in minutes that are not in `samples` yet, as the workers have counted them themselves.

-- Each heartbeat of a worker replaces its rows, and maintenance deletes the rows of minutes that it has sampled.
create table horsies.current_counts (
    worker_id uuid not null,
    started_at timestamptz not null,                    -- the begin of the minute
    queue text not null,
    task_name text not null,
    completed bigint not null,
    failed bigint not null,
    retried bigint not null,
    primary key (worker_id, started_at, queue, task_name)
);
create index current_counts_by_minute on horsies.current_counts (started_at);
