-- What a schema has: functions with their bodies, views, usable indexes, and constraints of its tables (not those of
-- partitions).
with home as (select n.oid from pg_namespace n where n.nspname = %(schema)s)
select 'function', p.proname::text, p.prosrc from pg_proc p join home h on h.oid = p.pronamespace
union all
select 'index', c.relname::text, '' from pg_class c join home h on h.oid = c.relnamespace
join pg_index i on i.indexrelid = c.oid where i.indisvalid
union all
select 'constraint', k.conname::text, '' from pg_constraint k join home h on h.oid = k.connamespace
union all
select 'view', c.relname::text, '' from pg_class c join home h on h.oid = c.relnamespace where c.relkind = 'v'
