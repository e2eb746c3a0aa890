-- Whether the schema exists, and whether the current role may read its version from the table.
select found.version is not null, coalesce(has_table_privilege(found.version, 'select'), false)
from (select to_regclass('{horsies}.schema_version')) as found (version)
