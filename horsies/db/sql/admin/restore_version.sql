-- Inserts the row of `schema_version` again, from the comment on the table.
insert into horsies.schema_version (version, functions_hash, library_version, identity)
select r.version, r.functions_hash, r.library_version, r.identity from horsies.schema_record() as r
on conflict (only_row) do nothing
