-- Written last: in one transaction with what it records.
with old as (delete from horsies.schema_version)
insert into horsies.schema_version (version, functions_hash, library_version) values (%s, %s, %s)
