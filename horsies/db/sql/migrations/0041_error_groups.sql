-- Error groups: failed attempts by task, code, place and message, counted by minute and by hour.

-- Maintenance adds groups. The group of the other messages of a place has the message 'other'; the group of the other
-- errors of a task has the code 'other' as well.
create table horsies.error_groups (
    id bigint generated always as identity primary key,
    task_name text not null,
    digest bytea not null,                              -- of the next four columns, which are too long for an index
    error_code text not null,
    frame text not null,                                -- file and function of the user's code; '' if unknown
    message text not null,                              -- with digits and ids replaced by #
    is_other boolean not null,
    first_seen timestamptz not null,
    last_seen timestamptz not null,
    example_id uuid not null                            -- the task whose attempt failed last
);
create unique index error_groups_by_content on horsies.error_groups (task_name, digest);
create index error_groups_by_last_seen on horsies.error_groups (last_seen);

-- Rows of minutes are replaced while they may change, as those of `samples` are, and added up to hours.
create table horsies.error_counts (
    period_s int not null constraint error_period_is_known check (period_s in (60, 3600)),
    started_at timestamptz not null,                    -- the begin of the period
    group_id bigint not null,
    library_version text not null,                      -- of the worker; '' if unknown
    app_version text not null,                          -- '' if unknown
    number bigint not null,                             -- of failed attempts
    primary key (period_s, started_at, group_id, library_version, app_version)
);
create index error_counts_by_group on horsies.error_counts (group_id, period_s, started_at);

-- The versions of workers, also of those that have stopped in the last week.
create table horsies.worker_versions (
    worker_id uuid primary key,
    library_version text not null,
    app_version text,                                   -- null until the worker has registered its tasks
    seen_at timestamptz not null                        -- when the worker was seen last, to the hour
);
create index worker_versions_by_time on horsies.worker_versions (seen_at);

-- From when on failures are counted by group; null until then.
alter table horsies.sampling add column errors_since timestamptz;
