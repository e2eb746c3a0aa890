-- Keys take turns: indexes of waiting tasks by key, and of claimed tasks by key.

-- Rows that wait for their turn stand in `tasks_turns` and not in the indexes for the order of arrival. Therefore claims
-- of other queues never step over them, and a row of a keyed queue that has no turn yet costs nothing.
drop index horsies.tasks_to_claim;
create index tasks_to_claim on horsies.tasks (queue, priority, run_at, id)
    where status = 'PENDING' and not held and turn_key is null;
drop index horsies.tasks_by_name_and_priority;
create index tasks_by_name_and_priority on horsies.tasks (task_name, priority, run_at, id)
    where status = 'PENDING' and not held and turn_key is null;
create index tasks_turns on horsies.tasks (queue, priority, turn_key, run_at, id)
    where status = 'PENDING' and not held and turn_key is not null;
-- What is in flight of each key. Tasks without a key are counted as well if they took a turn.
create index tasks_claimed_by_key on horsies.tasks (queue, coalesce(task_key, ''))
    where status <> 'PENDING' and (task_key is not null or turn_key is not null);

-- By which parameters the items of a map get their keys, if the element of the list is part of the key: a JSON object
-- with the parameters (`by`) and the `defaults`. The keys of other nodes are in `task_key`.
alter table horsies.workflow_nodes add column key_by json;
alter table horsies.workflow_items drop column task_key;
