-- For each right to a view of horsies that somebody else than its owner has: the view, and the statement that grants
-- the right.
select c.relname::text,
       format('grant %%s%%s on %%I.%%I to %%s%%s', acl.privilege_type, acl.columns, n.nspname, c.relname,
              case when acl.grantee = 0 then 'public' else quote_ident(r.rolname) end,
              case when acl.is_grantable then ' with grant option' else '' end)
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
cross join lateral (
    select a.grantee, a.privilege_type, a.is_grantable, '' as columns from aclexplode(c.relacl) as a
    union all
    select a.grantee, a.privilege_type, a.is_grantable, format(' (%%I)', t.attname)
    from pg_attribute t cross join lateral aclexplode(t.attacl) as a
    where t.attrelid = c.oid and t.attnum > 0 and not t.attisdropped
) as acl
left join pg_roles r on r.oid = acl.grantee
where n.nspname = %(schema)s and c.relkind = 'v' and acl.grantee <> c.relowner
  and (acl.grantee = 0 or r.rolname is not null)
  and right(obj_description(c.oid, 'pg_class'), length(%(mark)s)) = %(mark)s
order by 1, 2
