-- The version, the fingerprint of the functions and the release that migrated the schema, and whether the row that
-- holds them exists. If it is missing, the comment on the table is read; see record_comment.sql. This is no server
-- function, because it also reads older schemas.
select v.version, v.functions_hash, v.library_version, true as has_row
from horsies.schema_version v
union all
select noted.part[1]::int, noted.part[2], noted.part[3], false
from regexp_match(obj_description(to_regclass('{horsies}.schema_version'), 'pg_class'),
                  'version ([0-9]{1,9}), functions ([^ ,]+), release ([^ ,]+), identity [0-9a-f-]{36}') as noted (part)
where noted.part is not null and not exists (select from horsies.schema_version)
