-- The functions that an earlier release of horsies created and that are not among the signatures any more.
select format('%%I(%%s)', p.proname, pg_get_function_identity_arguments(p.oid))
from pg_proc p join pg_namespace n on n.oid = p.pronamespace
where n.nspname = %(schema)s and obj_description(p.oid, 'pg_proc') = %(mark)s
  and p.oid <> all (array(
      select to_regprocedure('{horsies}.' || wanted.signature)::oid
      from unnest(%(signatures)s::text[]) as wanted (signature)
      where to_regprocedure('{horsies}.' || wanted.signature) is not null))
