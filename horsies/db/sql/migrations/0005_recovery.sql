-- Records of dead workers, for finding the reason afterwards.

create table horsies.dead_workers (
    id uuid primary key,
    hostname text not null,
    pid int not null,
    process_name text not null,
    library_version text not null,
    started_at timestamptz not null,
    heartbeat_at timestamptz not null,                  -- the time of the last heartbeat
    died_at timestamptz not null                        -- when the worker was found dead
);
