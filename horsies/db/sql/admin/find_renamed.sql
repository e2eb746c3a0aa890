-- The schemas that had this name before they were renamed: the bodies of their functions still contain it.
select n.nspname::text
from pg_namespace n
where n.nspname <> %(schema)s
  and exists (select from pg_class c where c.relnamespace = n.oid and c.relname = 'schema_version')
  and exists (
      select from pg_proc p
      where p.pronamespace = n.oid and p.proname = 'enqueue' and strpos(p.prosrc, %(table)s) > 0)
order by 1
