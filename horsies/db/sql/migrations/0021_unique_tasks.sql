-- Idempotency keys and unique tasks.

-- What a unique task holds while no second one may be sent: 'started:' or 'ended:' (until when), and a digest of the
-- arguments that are compared. A claim removes the first kind and keeps the second. Nothing ever sets it again, so a
-- retry or a return to the queue cannot conflict with a task that was sent later. Most tasks hold nothing, and have no
-- entry in the index.
alter table horsies.tasks add column holds_unique text;
create unique index tasks_holds_unique on horsies.tasks (task_name, holds_unique) where holds_unique is not null;

-- The idempotency keys of sends, and the task that each of them stands for. A key is deleted with the record of its
-- task.
create table horsies.idempotency_keys (
    task_name text not null,
    key text not null constraint key_has_1_to_512_bytes check (octet_length(key) between 1 and 512),
    task_id uuid not null,
    args_digest bytea not null,                         -- see json_digest
    sent_at timestamptz not null,
    primary key (task_name, key)
);
create index idempotency_keys_by_task on horsies.idempotency_keys (task_id);

-- The last send that gave a waiting unique task other arguments. If the answer to this send was lost, a replay finds
-- here that it has been done.
create table horsies.replacements (
    task_id uuid primary key,
    request_id uuid not null,                           -- the id of the send, which is not the id of a task
    fingerprint bytea not null
);
create index replacements_by_request on horsies.replacements (request_id);

-- The uniqueness of the task that a schedule sends; all of it is null if the task is not unique.
alter table horsies.schedules
    add column unique_args json,                        -- the arguments that are compared
    add column unique_until text constraint unique_until_is_known check (unique_until in ('started', 'ended')),
    add column unique_on_conflict text constraint unique_on_conflict_is_known
        check (unique_on_conflict in ('keep', 'replace', 'reject')),
    add column unique_max_wait double precision;        -- in seconds
