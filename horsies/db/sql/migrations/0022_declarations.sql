-- What apps have declared about their tasks, so that `send` can send a task by its name alone. Workers register the
-- tasks of their app when they start, and `horsies db register` registers them without a worker.

-- One row for each version of a declaration. The rows of earlier versions are kept while a live worker has them.
create table horsies.declarations (
    digest text primary key,                            -- a hash of the name and of everything that is declared
    task_name text not null,
    is_current boolean not null,                        -- whether it was registered last under this name
    app_version text not null,
    registered_at timestamptz not null,
    queue text not null,
    priority smallint not null
        constraint declared_priority_is_from_1_to_100 check (priority between 1 and 100),
    retry_policy json,
    timeout_ms int,
    parameters json not null,                           -- a JSON Schema of the arguments
    parameter_names text[] not null,
    required_names text[] not null,
    defaults json not null                              -- the encoded defaults by parameter
);
create unique index one_current_declaration on horsies.declarations (task_name) where is_current;

-- What a worker has registered: the version of its app, and the digests of its declarations. Workers of earlier releases
-- register nothing.
alter table horsies.workers
    add column app_version text,
    add column declared text[];
