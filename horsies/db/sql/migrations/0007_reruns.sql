-- Which tasks were sent again, and as which tasks. The new task's own row names its origin; this table answers the other
-- question, "which reruns does this task have?", with one look, where an index on history would need one for each day.
-- `info` shows the answer, and a bulk rerun leaves these tasks out.

create table horsies.reruns (
    origin uuid not null,
    task_id uuid not null,                              -- the new task
    sent_at timestamptz not null,
    primary key (origin, task_id)
);
insert into horsies.reruns (origin, task_id, sent_at)
select t.rerun_of, t.id, t.sent_at from horsies.tasks t where t.rerun_of is not null
union all
select h.rerun_of, h.id, h.sent_at from horsies.history h where h.rerun_of is not null;
