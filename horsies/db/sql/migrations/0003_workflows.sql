-- Workflow runs: what they consist of, and how far they have come. Everything that changes a row is a function in
-- ../functions, under the lock of the root run.

create table horsies.workflows (
    id uuid primary key,
    root_id uuid not null,                              -- the run at the top: its row is the lock of the whole tree
    parent_id uuid,                                     -- the run, and its node, that this run is a part of
    parent_index int,
    name text not null,
    definition_key text not null,
    status text not null constraint run_status_is_known
        check (status in ('RUNNING', 'PAUSED', 'COMPLETED', 'FAILED', 'CANCELLED')),
    on_error text not null constraint on_error_is_fail_or_pause check (on_error in ('fail', 'pause')),
    output_index int,
    cases json,                                         -- [[index, …], …]: all of any case make a success; null: all nodes
    optional int[] not null,
    total int not null,
    completed int not null default 0,
    failed int not null default 0,
    skipped int not null default 0,
    failed_index int,                                   -- the first failure
    error json,                                         -- of a FAILED or CANCELLED run
    fingerprint bytea not null,
    started_at timestamptz not null,
    finished_at timestamptz,
    constraint run_is_a_root_or_has_a_parent
        check ((parent_id is null) = (root_id = id) and (parent_id is null) = (parent_index is null)),
    constraint ended_run_has_its_time
        check ((status in ('COMPLETED', 'FAILED', 'CANCELLED')) = (finished_at is not null)),
    constraint ended_run_has_an_error_unless_completed check ((status in ('FAILED', 'CANCELLED')) = (error is not null)),
    constraint no_node_ends_twice check (completed + failed + skipped <= total)
) with (fillfactor = 50);
create index workflows_by_parent on horsies.workflows (parent_id) where parent_id is not null;
create index workflows_by_root on horsies.workflows (root_id);
create index workflows_that_ended on horsies.workflows (finished_at) where finished_at is not null;
create index workflows_by_start on horsies.workflows (started_at);

-- Nodes own their results until the run is pruned. A node is RUNNING when its task is: that is not written here.
create table horsies.workflow_nodes (
    workflow_id uuid not null,
    index int not null,
    node_id text not null,
    kind text not null constraint node_kind_is_known check (kind in ('task', 'workflow', 'map')),
    task_name text not null,
    queue text not null,
    priority smallint not null,
    args json not null,
    args_from json not null,                            -- parameter → index of the node whose result it gets
    ctx_from int[],
    wants_meta boolean not null,
    waits_for int[] not null,
    needed int,                                         -- how many have to complete; null: all of them
    allow_failed_deps boolean not null,
    good_until timestamptz,
    timeout_ms int,
    retry_policy json,
    over_index int,
    item_parameter text,
    max_parallel int,
    status text not null constraint node_status_is_known
        check (status in ('PENDING', 'READY', 'ENQUEUED', 'COMPLETED', 'FAILED', 'SKIPPED')),
    open_deps int not null,                             -- dependencies that have not ended
    completed_deps int not null default 0,
    blamed int,                                         -- the first, in the order of waits_for, that did not complete
    task_id uuid,
    child_id uuid,                                      -- the run that this node is
    items int,                                          -- of a map, once it is expanded
    sent_items int not null default 0,
    open_items int,
    result json,                                        -- the value if COMPLETED, else the TaskError
    error_code text,
    summary json,                                       -- of the child run
    result_kind text,                                   -- what made the result, where that is a node of the child run
    result_task text,
    started_at timestamptz,
    finished_at timestamptz,
    primary key (workflow_id, index),
    constraint ended_node_has_a_result
        check ((status in ('COMPLETED', 'FAILED', 'SKIPPED')) = (result is not null)),
    constraint node_error_code_unless_completed check ((status in ('FAILED', 'SKIPPED')) = (error_code is not null)),
    constraint enqueued_node_has_a_task check (status <> 'ENQUEUED' or task_id is not null)
) with (fillfactor = 60);
-- The run comes second: were it first, a plan made while the table is empty might take this index for that of the key, and read
-- all nodes of a run for each.
create unique index workflow_nodes_by_node_id on horsies.workflow_nodes (node_id, workflow_id);

-- From a node to those that wait for it, so that an end costs as much as it has dependents.
create table horsies.workflow_edges (
    workflow_id uuid not null,
    source int not null,
    target int not null,
    place int not null,                                 -- of the source in the target's waits_for
    primary key (workflow_id, source, target)
);

-- The items of an expanded map.
create table horsies.workflow_items (
    workflow_id uuid not null,
    index int not null,
    item int not null,
    value json not null,
    is_ok boolean,
    result json,
    primary key (workflow_id, index, item),
    constraint ended_item_has_a_result check ((is_ok is null) = (result is null))
) with (fillfactor = 70);

alter table horsies.tasks add column item int;          -- which item of a map this task is for
alter table horsies.history add column item int;
create index tasks_of_runs on horsies.tasks (workflow_id) where workflow_id is not null;
