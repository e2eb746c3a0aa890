-- An identity of the schema. A producer uses it to check whether a connection of its caller leads to its own database.
-- PostgreSQL 12 has no gen_random_uuid().
alter table horsies.schema_version
    add column identity uuid not null
        default md5(random()::text || random()::text || clock_timestamp()::text || pg_backend_pid()::text)::uuid;
