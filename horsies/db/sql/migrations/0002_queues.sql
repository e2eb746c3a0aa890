-- Settings of queues that can be changed at run time, and the caps that workers declare.

-- One row for each queue that is paused or has another cap than the apps declare. Most queues have no row.
create table horsies.queues (
    name text primary key,
    paused boolean not null default false,
    max_concurrency int                                 -- overrides the declared cap; null: no override
        constraint cap_is_not_negative check (max_concurrency >= 0)
);

-- `caps` has one item for each item of `queues`, null for a queue without a cap. It is null if no queue has a cap.
alter table horsies.workers
    add column caps int[] constraint caps_are_those_of_the_queues check (cardinality(caps) = cardinality(queues)),
    add column cluster_cap int;

-- Caps count the claimed tasks of a queue. The few queries by worker scan the whole index.
drop index horsies.tasks_in_hand;
create index tasks_in_hand on horsies.tasks (queue, worker_id) where status <> 'PENDING';
