-- The columns, indexes and constraints of the tables with these names, to compare two schemas. From PostgreSQL 18 on,
-- NOT NULL is a constraint, too; it belongs to the column in all versions.
with home as (
    select c.oid, c.relname::text as name
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = %(schema)s and c.relkind in ('r', 'p') and c.relname = any (%(names)s::text[])
)
select h.name, a.attname::text,
       format_type(a.atttypid, a.atttypmod) || case when a.attnotnull then ' not null' else '' end
from home h join pg_attribute a on a.attrelid = h.oid and a.attnum > 0 and not a.attisdropped
union all
select h.name, c.relname::text, 'index'
from home h join pg_index i on i.indrelid = h.oid join pg_class c on c.oid = i.indexrelid
union all
select h.name, k.conname::text, 'constraint'
from home h join pg_constraint k on k.conrelid = h.oid and k.contype <> 'n'
