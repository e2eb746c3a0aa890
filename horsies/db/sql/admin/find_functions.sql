-- For each signature: whether a function of the schema has it, whether horsies created that function, and its body.
select wanted.signature, p.oid is not null, obj_description(p.oid, 'pg_proc') is not distinct from %(mark)s, p.prosrc
from unnest(%(signatures)s::text[]) as wanted (signature)
left join pg_proc p on p.oid = to_regprocedure('{horsies}.' || wanted.signature)
