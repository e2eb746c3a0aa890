-- Repeats the row of `schema_version` in a comment on that table. A dump of the schema without data (pg_dump -s) keeps
-- the comment, and so do TRUNCATE and DELETE. The function `schema_record` and read_version.sql read it.
do $do$
declare
    recorded record;
begin
    select v.version, v.functions_hash, v.library_version, v.identity into strict recorded
    from horsies.schema_version v;
    execute format('comment on table {horsies}.schema_version is %L',
                   format('Schema of horsies: version %s, functions %s, release %s, identity %s.', recorded.version,
                          recorded.functions_hash, recorded.library_version, recorded.identity));
end
$do$;
