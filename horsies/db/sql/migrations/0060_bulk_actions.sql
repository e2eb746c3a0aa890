-- Actions on many tasks that a filter selects. A preview stores the ids of the tasks, and a confirmed action processes
-- exactly these.
create table horsies.bulk_actions (
    id uuid primary key,                                -- in the order of time
    action text not null constraint bulk_action_is_known check (action in ('cancel', 'rerun')),
    state text not null constraint bulk_state_is_known check (state in ('PREVIEW', 'RUNNING', 'STOPPED', 'DONE')),
    filter text not null,                               -- as the user wrote it
    statuses text[] not null,                           -- a task that has none of these is skipped
    task_ids uuid[] not null,                           -- the tasks of the preview, at most 100,000
    total int not null,                                 -- their number
    is_cut boolean not null,                            -- whether the search ended early, so that more may match
    left_out int not null,                              -- matching tasks that have a rerun already
    processed int not null default 0,                   -- how many of the tasks were processed, in their order
    changed int not null default 0,                     -- how many of these were cancelled or sent again
    created_at timestamptz not null,
    created_by text not null,                           -- who made the preview
    acted_by text,                                      -- who confirmed or resumed it last; null: nobody has
    started_at timestamptz,                             -- when it was confirmed
    ended_at timestamptz,
    worked_at timestamptz,                              -- of the latest batch or resumption, by the server's clock
    failure text                                        -- why a process has stopped it; null: no process has
);
