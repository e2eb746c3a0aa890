-- Purpose: what tells this schema from every other one. Copies of a database (pg_dump, CREATE DATABASE … TEMPLATE) share
-- the schema's identity, so the oid of the database and the identifier of the server come with it. The latter is null
-- where the user may not read it.
-- Locks: none. Called by: producers, over their own connection and over one of their caller.
create function horsies.database_identity()
returns table (identity uuid, database_oid oid, system_identifier bigint)
language plpgsql volatile as $function$
begin
    if has_function_privilege(to_regprocedure('pg_catalog.pg_control_system()'), 'execute') then
        select control.system_identifier into database_identity.system_identifier
        from pg_control_system() as control;
    end if;
    select version.identity into database_identity.identity from horsies.schema_version as version;
    select database.oid into database_identity.database_oid
    from pg_database as database where database.datname = current_database();
    return next;
end
$function$;
