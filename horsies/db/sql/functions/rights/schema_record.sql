-- Purpose: Return what is recorded about the schema: its version, the fingerprint of its functions, the release that
-- migrated it, and its identity. If the row of `schema_version` is missing (after TRUNCATE, or in a dump without
-- data), the same is read from the comment on that table, which every migration writes. No row: neither of them
-- exists.
-- Locks: none.
-- Called by: database_identity, installed_version.
-- Granted to: nobody.
create function horsies.schema_record()
returns table (version int, functions_hash text, library_version text, identity uuid)
language sql stable as $function$
    select v.version, v.functions_hash, v.library_version, v.identity from horsies.schema_version as v
    union all
    select noted.part[1]::int, noted.part[2], noted.part[3], noted.part[4]::uuid
    from regexp_match(obj_description(to_regclass('{horsies}.schema_version'), 'pg_class'),
                      'version ([0-9]{1,9}), functions ([^ ,]+), release ([^ ,]+), identity ([0-9a-f-]{36})')
         as noted (part)
    where noted.part is not null and not exists (select from horsies.schema_version)
$function$;
