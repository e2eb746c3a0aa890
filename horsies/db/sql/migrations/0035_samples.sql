-- Samples: numbers and histograms of ended attempts by minute, queue and task, rolled up to 10 minutes and to hours.

-- `retried` and `crashed` count attempts, the others tasks. A histogram is two arrays: the numbers of its buckets, in
-- ascending order, and how many attempts are in each (see the function `sample_bucket`).
create table horsies.samples (
    period_s int not null constraint period_is_known check (period_s in (60, 600, 3600)),
    started_at timestamptz not null,                    -- the begin of the period
    queue text not null,
    task_name text not null,
    completed bigint not null,
    failed bigint not null,
    cancelled bigint not null,
    expired bigint not null,
    retried bigint not null,
    crashed bigint not null,
    wait_buckets smallint[] not null,                   -- from being due to the start, of the last attempts of tasks
    wait_counts bigint[] not null,
    run_buckets smallint[] not null,                    -- from the start to the end, of attempts that did not crash
    run_counts bigint[] not null,
    primary key (period_s, started_at, queue, task_name)
);

-- How far the samples go. One row, which the first call of `sample` inserts.
create table horsies.sampling (
    id int primary key default 1 constraint sampling_is_one_row check (id = 1),
    first_minute timestamptz not null,                  -- there are samples from here on
    sampled_until timestamptz not null                  -- the end of the last minute with samples
);

-- Rows of history are appended in the order of `finished_at`, so a block range index is small and costs little.
create index history_finished on horsies.history using brin (finished_at);
create index attempts_finished on horsies.attempts (finished_at);
