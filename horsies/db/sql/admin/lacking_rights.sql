-- The rights that the current role needs in a schema and lacks: on the database (to create a missing schema), on the
-- schema, and on the functions and views with these names.
with home as (select n.oid, n.nspname from pg_namespace n where n.nspname = %(schema)s)
select 'create on database', current_database()::text
where not exists (select from home) and not has_database_privilege(current_database(), 'create')
union all
select 'usage on schema', h.nspname::text from home h where not has_schema_privilege(h.oid, 'usage')
union all
select 'execute on', p.proname::text
from home h join pg_proc p on p.pronamespace = h.oid
where p.proname = any (%(names)s::text[]) and obj_description(p.oid, 'pg_proc') = %(mark)s
  and not has_function_privilege(p.oid, 'execute')
union all
select 'read access to', c.relname::text
from home h join pg_class c on c.relnamespace = h.oid
where c.relkind = 'v' and c.relname = any (%(views)s::text[]) and not has_table_privilege(c.oid, 'select')
order by 1, 2
