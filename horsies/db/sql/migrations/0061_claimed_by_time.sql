-- The claimed tasks of a key in the order of their claims. Beside an old snapshot, the counts of claimed tasks begin
-- at a time, and do not step over the dead rows of all tasks that were claimed before (see `keep_turn_marks`).
drop index horsies.tasks_claimed_by_key;
create index tasks_claimed_by_key_and_time on horsies.tasks (queue, coalesce(task_key, ''), claimed_at)
    where status <> 'PENDING' and (task_key is not null or turn_key is not null);
