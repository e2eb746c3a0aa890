-- The reruns of each task. The row of a rerun names its origin. This table answers the opposite question, "which reruns
-- does this task have?", with one probe; an index on history would need one probe for each day. `info` shows the
-- answer, and a bulk rerun leaves out tasks that have reruns.

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
