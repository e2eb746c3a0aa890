-- The actions of people and programs that operate the queue: by the command line and by `Broker`, written by
-- `record_action`.
create table horsies.audit (
    id uuid primary key,                                -- in the order of time
    acted_at timestamptz not null,
    who text not null,                                  -- as the caller says
    database_user text not null,                        -- the role that has logged in
    action text not null,                               -- such as 'queue.pause'
    subjects text[] not null,                           -- ids or names, at most 1,000
    details json                                        -- the values that were set, and reasons
);
create index audit_acted on horsies.audit (acted_at);
