-- The roles other than the owners of the schema and of its tables that may create objects in the schema.
select coalesce(r.rolname::text, 'PUBLIC')
from pg_namespace n
cross join aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) as acl
left join pg_roles r on r.oid = acl.grantee
where n.nspname = %(schema)s and acl.privilege_type = 'CREATE' and acl.grantee <> n.nspowner
  and acl.grantee not in (select c.relowner from pg_class c where c.oid = to_regclass('{horsies}.grants'))
  and r.rolsuper is not true
order by 1
