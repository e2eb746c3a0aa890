-- An identity for the schema, by which a producer finds out whether a connection of its caller leads to its own database.
-- PostgreSQL 12 has no gen_random_uuid().
alter table horsies.schema_version
    add column identity uuid not null
        default md5(random()::text || random()::text || clock_timestamp()::text || pg_backend_pid()::text)::uuid;
