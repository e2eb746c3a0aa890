-- Tables of the schema, and partitions of history, whose rows a publication cannot identify, each with the statement
-- that changes that. `replica identity` is the primary key by default.
with ours as (
    select c.oid from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = %(schema)s and c.relname = any (%(names)s::text[]) and c.relkind = 'r'
    union
    select i.inhrelid from pg_inherits i where i.inhparent = to_regclass('{horsies}.history')
), keyed as (
    select c.oid, c.relname, c.relreplident as identified_by,
           exists (select from pg_index x where x.indrelid = c.oid and x.indisprimary and x.indisvalid) as has_key
    from ours join pg_class c on c.oid = ours.oid
)
select k.relname::text,
       format('alter table %%s replica identity %%s', k.oid::regclass,
              case when k.has_key then 'default' else 'full' end)
from keyed k
where k.identified_by = 'n' or (k.identified_by = 'd' and not k.has_key)
order by 1
