-- Purpose: Return what distinguishes this schema from every other one. Copies of a database (pg_dump, CREATE
-- DATABASE ... TEMPLATE) share the identity of the schema, so the oid of the database and the identifier of the
-- server are returned too. The latter is null if the user may not read it. Producers call this on their own
-- connection and on one of their caller.
-- Locks: none.
-- Called by: queries/identity.py, queries/monitoring.py.
-- Granted to: producer, worker, viewer, operator.
create function horsies.database_identity()
returns table (identity uuid, database_oid oid, system_identifier bigint)
security definer set search_path = pg_catalog, pg_temp
language plpgsql volatile as $function$
begin
    if has_function_privilege(to_regprocedure('pg_catalog.pg_control_system()'), 'execute') then
        select control.system_identifier into database_identity.system_identifier
        from pg_control_system() as control;
    end if;
    select recorded.identity into database_identity.identity from horsies.schema_record() as recorded;
    select database.oid into database_identity.database_oid
    from pg_database as database where database.datname = current_database();
    return next;
end
$function$;
