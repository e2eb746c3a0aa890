-- Purpose: Return the version of the schema, the fingerprint of its functions and the release of horsies that migrated
-- it. Roles that may not read tables find out here whether the schema is up to date.
-- Locks: none.
-- Called by: queries/rights.py.
-- Granted to: producer, worker, viewer, operator.
create function horsies.installed_version()
returns table (version int, functions_hash text, library_version text)
security definer set search_path = pg_catalog, pg_temp
language sql stable as $function$
    select installed.version, installed.functions_hash, installed.library_version
    from horsies.schema_version as installed
$function$;
