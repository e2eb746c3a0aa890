-- For each relation of a schema with one of these names: whether horsies has created it, and the query of a view.
select c.relname::text,
       coalesce(right(obj_description(c.oid, 'pg_class'), length(%(mark)s)) = %(mark)s, false),
       case when c.relkind = 'v' then pg_get_viewdef(c.oid) end
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = %(schema)s and c.relname = any (%(names)s::text[])
