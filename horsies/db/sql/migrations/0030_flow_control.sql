-- Flow control: keys of tasks, limits and rates of queues, and holds.

-- The key of a task, null if it has none. `turn_key` is set while a task of a keyed queue is due or claimed: it is the
-- key, or '' for a task without one. It is null for tasks of other queues and for tasks that are not due yet.
alter table horsies.tasks
    add column task_key text constraint task_key_has_1_to_200_characters check (length(task_key) between 1 and 200),
    add column turn_key text;
alter table horsies.history add column task_key text;
alter table horsies.schedules add column task_key text;
alter table horsies.workflow_nodes add column task_key text;
alter table horsies.workflow_items add column task_key text;
-- The parameters by which an app declares the key of a task, as a JSON array; null: the task has no declared key.
alter table horsies.declarations add column key_by json;

-- A queue now also has a row if its app declares a key setting or a rate, or if `holds` may have rows for it. What apps
-- declare and what was set at run time stand in separate columns. A value that was set at run time takes precedence;
-- null: none was set. Rates are JSON objects like {"limit": 100, "per_seconds": 60, "burst": 10}.
alter table horsies.queues
    -- 'on': keys take turns. 'ending': no longer, and claims still return rows to the order of the queue.
    add column turns text not null default 'off' constraint turns_is_known check (turns in ('off', 'on', 'ending')),
    add column declared_per_key int constraint declared_per_key_is_positive check (declared_per_key >= 1),
    add column declared_rate json,
    add column declared_rate_per_key json,
    add column max_concurrency_per_key int constraint per_key_is_not_negative check (max_concurrency_per_key >= 0),
    add column rate_limit json,
    add column rate_limit_per_key json,
    add column limits_set_by text,                      -- who changed a limit at run time, and when
    add column limits_set_at timestamptz,
    add column has_holds boolean not null default false;    -- cleared by the claim that deletes the last expired hold

-- The token buckets of rate limits. A bucket holds `burst` tokens when it is full; a missing row is a full bucket.
-- With T seconds per token, it has floor(burst - (full_at - now) / T) tokens. `key` is '' if the scope is 'queue'.
create table horsies.buckets (
    queue text not null,
    scope text not null constraint bucket_scope_is_known check (scope in ('queue', 'key')),
    key text not null constraint bucket_of_a_queue_has_no_key check (scope = 'key' or key = ''),
    full_at timestamptz not null,                       -- when the bucket will be full again
    primary key (queue, scope, key)
) with (fillfactor = 70);

-- Queues and keys of which nothing starts until a time. A pause and a remote limit of one key are separate rows, so that
-- the end of one does not end the other. `key` is '' if the scope is 'queue'.
create table horsies.holds (
    queue text not null,
    scope text not null constraint hold_scope_is_known check (scope in ('queue', 'key')),
    key text not null constraint hold_of_a_queue_has_no_key check (scope = 'key' or key = ''),
    kind text not null constraint hold_kind_is_known check (kind in ('paused', 'rate_limited')),
    until timestamptz not null,                         -- 'infinity' until somebody resumes the key
    who text,                                           -- the user who paused the key, or the task that was limited
    reason text,
    set_at timestamptz not null,
    primary key (queue, scope, key, kind)
);
