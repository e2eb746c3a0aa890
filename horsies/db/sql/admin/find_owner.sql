-- The owner of the tables, whether this is the current role, and whether the current role may act as the owner.
select pg_get_userbyid(c.relowner)::text, pg_get_userbyid(c.relowner) = current_user,
       pg_has_role(c.relowner, 'member')
from pg_class c where c.oid = to_regclass('{horsies}.schema_version')
