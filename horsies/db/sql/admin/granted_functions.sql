-- For each role other than the owner and superusers, and for PUBLIC: the functions with these signatures that were
-- granted to it.
select coalesce(r.rolname::text, 'PUBLIC'), array_agg(wanted.signature order by wanted.signature)
from unnest(%(signatures)s::text[]) as wanted (signature)
join pg_proc p on p.oid = to_regprocedure('{horsies}.' || wanted.signature)
cross join aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) as acl
left join pg_roles r on r.oid = acl.grantee
where acl.grantee <> p.proowner and r.rolsuper is not true
group by 1
order by 1
