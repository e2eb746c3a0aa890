-- Statements that drop the views that horsies has created in a schema.
select format('drop view %%I.%%I', n.nspname, c.relname)
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = %(schema)s and c.relkind = 'v'
  and right(obj_description(c.oid, 'pg_class'), length(%(mark)s)) = %(mark)s
order by c.relname
