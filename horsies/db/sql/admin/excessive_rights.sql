-- Rights that only the owner of the tables should have: to change tables, also through a view (the name of one is
-- returned), and to execute functions that only other functions call.
with home as (
    select c.relnamespace as id, c.relowner as owner
    from pg_class c where c.oid = to_regclass('{horsies}.schema_version')
)
select coalesce(r.rolname::text, 'PUBLIC'), case when bool_and(c.relkind = 'v') then 'view ' else 'table ' end
       || coalesce(min(c.relname::text) filter (where c.relkind <> 'v'), min(c.relname::text))
from home
join pg_class c on c.relnamespace = home.id and c.relowner = home.owner and c.relkind in ('r', 'p', 'v', 'm')
cross join aclexplode(c.relacl) as acl
left join pg_roles r on r.oid = acl.grantee
where acl.grantee <> home.owner and acl.privilege_type <> 'SELECT' and r.rolsuper is not true
  and c.relname = any (%(tables)s::text[])
group by 1
union all
select coalesce(r.rolname::text, 'PUBLIC'), 'function ' || min(p.proname::text)
from home
join pg_proc p on p.pronamespace = home.id and p.proname = any (%(helpers)s::text[])
cross join aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) as acl
left join pg_roles r on r.oid = acl.grantee
where acl.grantee <> home.owner and r.rolsuper is not true and obj_description(p.oid, 'pg_proc') = %(mark)s
group by 1
order by 1, 2
