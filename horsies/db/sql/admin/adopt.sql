-- Statements that give functions, views and partitions, which another role has created in an earlier migration, to
-- the owner of the tables.
with home as (
    select c.relnamespace as id, c.relowner as owner
    from pg_class c where c.oid = to_regclass('{horsies}.schema_version')
)
select format('alter function %%s owner to %%I', p.oid::regprocedure, pg_get_userbyid(home.owner))
from pg_proc p join home on home.id = p.pronamespace
where p.proowner <> home.owner
  and (obj_description(p.oid, 'pg_proc') = %(mark)s or p.proname = any (%(names)s::text[]))
union all
select format('alter table %%s owner to %%I', c.oid::regclass, pg_get_userbyid(home.owner))
from pg_inherits i join pg_class c on c.oid = i.inhrelid cross join home
where i.inhparent = to_regclass('{horsies}.history') and c.relowner <> home.owner
union all
select format('alter view %%s owner to %%I', c.oid::regclass, pg_get_userbyid(home.owner))
from pg_class c join home on home.id = c.relnamespace
where c.relkind = 'v' and c.relowner <> home.owner
  and right(obj_description(c.oid, 'pg_class'), length(%(mark)s)) = %(mark)s
