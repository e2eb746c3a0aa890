-- Workflow runs, their nodes and their states. Only the functions in ../functions change rows, under the lock of the
-- root run.

create table horsies.workflows (
    id uuid primary key,
    root_id uuid not null,                              -- the root run, whose row is the lock of the tree
    parent_id uuid,                                     -- the parent run, and its node that runs this run
    parent_index int,
    name text not null,
    definition_key text not null,
    status text not null constraint run_status_is_known
        check (status in ('RUNNING', 'PAUSED', 'COMPLETED', 'FAILED', 'CANCELLED')),
    on_error text not null constraint on_error_is_fail_or_pause check (on_error in ('fail', 'pause')),
    output_index int,
    cases json,                                         -- [[index, …], …]: success cases; null: all nodes
    optional int[] not null,
    total int not null,
    completed int not null default 0,
    failed int not null default 0,
    skipped int not null default 0,
    failed_index int,                                   -- the node that failed first
    error json,                                         -- null unless the run is FAILED or CANCELLED
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

-- Nodes keep their results until the run is pruned. A node is RUNNING while its task is; this is not stored here.
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
    needed int,                                         -- dependencies that must complete; null: all
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
    blamed int,                                         -- the first dependency that did not complete
    task_id uuid,
    child_id uuid,                                      -- the child run of a workflow node
    items int,                                          -- the number of items of an expanded map
    sent_items int not null default 0,
    open_items int,
    result json,                                        -- the value if COMPLETED, else the TaskError
    error_code text,
    summary json,                                       -- the summary of the child run
    result_kind text,                                   -- the kind of the child run's node with the result
    result_task text,
    started_at timestamptz,
    finished_at timestamptz,
    primary key (workflow_id, index),
    constraint ended_node_has_a_result
        check ((status in ('COMPLETED', 'FAILED', 'SKIPPED')) = (result is not null)),
    constraint node_error_code_unless_completed check ((status in ('FAILED', 'SKIPPED')) = (error_code is not null)),
    constraint enqueued_node_has_a_task check (status <> 'ENQUEUED' or task_id is not null)
) with (fillfactor = 60);
-- The run is the second column. If it were the first, a plan from a time when the table was empty might use this index
-- instead of the primary key, and read all nodes of a run to find one.
create unique index workflow_nodes_by_node_id on horsies.workflow_nodes (node_id, workflow_id);

-- The dependents of each node, so that the cost of ending a node depends only on their number.
create table horsies.workflow_edges (
    workflow_id uuid not null,
    source int not null,
    target int not null,
    place int not null,                                 -- the position of the source in waits_for
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

alter table horsies.tasks add column item int;          -- the item of a map that this task processes
alter table horsies.history add column item int;
create index tasks_of_runs on horsies.tasks (workflow_id) where workflow_id is not null;
