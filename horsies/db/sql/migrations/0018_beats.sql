-- The number of heartbeats of a worker. Other processes watch whether it changes, each by its own clock, because the
-- clock of the server can be set.
alter table horsies.workers add column beats bigint not null default 0;
