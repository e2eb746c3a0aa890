-- Figures of monitoring: numbers of waiting tasks that are too large to be counted at each question, and indexes for
-- questions whose cost must not grow with the number of waiting tasks or ended runs.

-- Maintenance replaces these rows while more tasks wait than `waiting_figures` counts; otherwise the table is empty.
create table horsies.waiting_counts (
    queue text not null,
    task_name text not null,
    waiting bigint not null,                            -- due, and not claimed
    scheduled bigint not null,                          -- not due yet
    counted_at timestamptz not null,
    counting_s double precision not null,               -- how long the count took
    primary key (queue, task_name)
);

-- Few tasks are held or wait for a retry, so these indexes are small and cost other tasks nothing.
create index tasks_held on horsies.tasks (queue, task_name) where held;
create index tasks_to_retry on horsies.tasks (queue, task_name, run_at)
    where exchange_no is null and not held and attempt > 0;
create index workflows_live on horsies.workflows (status, started_at) where finished_at is null and parent_id is null;
