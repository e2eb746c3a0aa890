-- Every table gets a primary key. A database with a publication for all tables refuses updates and deletes of rows that
-- it cannot identify. The columns say which rows these tables may hold: a single one.
alter table horsies.schema_version
    add column only_row boolean not null default true constraint schema_version_has_one_row check (only_row),
    add primary key (only_row);
drop index horsies.schema_version_is_one_row;

alter table horsies.clock
    add column only_row boolean not null default true constraint clock_has_one_row check (only_row),
    add primary key (only_row);
drop index horsies.clock_is_one_row;
