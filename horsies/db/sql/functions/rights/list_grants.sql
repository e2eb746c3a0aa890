-- Purpose: List what `horsies db grant` has granted: the roles and the kinds of rights.
-- Locks: none.
-- Called by: queries/rights.py.
-- Granted to: producer, worker, viewer, operator.
create function horsies.list_grants() returns table (role_name text, kind text)
security definer set search_path = pg_catalog, pg_temp
language sql stable as $function$
    select given.role_name, given.kind from horsies.grants as given order by given.role_name, given.kind
$function$;
