-- The rights that a worker needs in a schema and the current user lacks; without a schema, the right to create one.
-- Rights on partitions come with their table.
with home as (select n.oid, n.nspname from pg_namespace n where n.nspname = %(schema)s)
select format('create on database %%I', current_database())
where not exists (select from home) and not has_database_privilege(current_database(), 'create')
union all
select format('usage on schema %%I', h.nspname) from home h where not has_schema_privilege(h.oid, 'usage')
union all
select format('execute on function %%s', p.proname)
from home h join pg_proc p on p.pronamespace = h.oid where not has_function_privilege(p.oid, 'execute')
union all
select format('%%s on table %%s', needed.privilege, c.relname)
from home h join pg_class c on c.relnamespace = h.oid
cross join unnest(array['select', 'insert', 'update', 'delete']) as needed (privilege)
where c.relkind in ('r', 'p') and not c.relispartition and c.relname <> 'clock'
  and (c.relname <> 'schema_version' or needed.privilege = 'select')
  and not has_table_privilege(c.oid, needed.privilege)
