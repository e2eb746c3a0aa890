-- What is said about a queue while workers run, and what workers say of the caps of theirs.

-- A row for each queue about which there is something to say; none for most.
create table horsies.queues (
    name text primary key,
    paused boolean not null default false,
    max_concurrency int                                 -- in place of what the apps declare; null: what they declare
        constraint cap_is_not_negative check (max_concurrency >= 0)
);

-- `caps` has an item for each of `queues`, null for one without a cap; it is null if none has one.
alter table horsies.workers
    add column caps int[] constraint caps_are_those_of_the_queues check (cardinality(caps) = cardinality(queues)),
    add column cluster_cap int;

-- Caps count what a queue has in hand. The few who ask by worker read all there is in hand.
drop index horsies.tasks_in_hand;
create index tasks_in_hand on horsies.tasks (queue, worker_id) where status <> 'PENDING';
