-- Runs last, in the transaction of the migrations that it records.
insert into horsies.schema_version (version, functions_hash, library_version) values (%s, %s, %s)
on conflict (only_row) do update
set version = excluded.version, functions_hash = excluded.functions_hash,
    library_version = excluded.library_version, migrated_at = clock_timestamp()
