-- For claims by name: a claim that serves many queues, or that finds mostly names that its worker does not know, reads
-- the waiting rows of each known name in the order of their priorities, in whatever queue they are.
create index tasks_by_name_and_priority on horsies.tasks (task_name, priority, run_at, id)
    where status = 'PENDING' and not held;

-- Rows that are locked by `select … for update`, and hold no data: 'maintenance', 'cluster' (its limit), and
-- 'queue NAME' (the limit of a queue). Only those who may update this table can hold such a lock, whereas any role can
-- take an advisory lock.
create table horsies.locks (
    name text primary key
);
insert into horsies.locks (name) values ('maintenance'), ('cluster');

-- Which scheduler leads a schedule, and until when, unless it renews its lease.
create table horsies.schedule_leases (
    name text primary key,                              -- of the schedule
    holder uuid not null,                               -- new at every start of a scheduler
    until timestamptz not null
) with (fillfactor = 50);
