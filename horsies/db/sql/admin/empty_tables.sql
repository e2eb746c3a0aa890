-- Deletes the rows that tests have left, but not what belongs to the schema: its version, its rights, and its locks.
do $block$
begin
    execute (
        select 'truncate ' || string_agg(c.oid::regclass::text, ', ')
        from pg_class c
        where c.relnamespace = to_regnamespace('{horsies}') and c.relkind in ('r', 'p') and not c.relispartition
        and c.relname not in ('schema_version', 'grants', 'locks')
    );
end
$block$
