-- Drops all functions of the schema, because parameters and results may change between releases.
do $do$
declare
    function_row record;
begin
    for function_row in
        select p.oid::regprocedure as signature
        from pg_proc p join pg_class c on c.relnamespace = p.pronamespace
        where c.oid = to_regclass('{horsies}.tasks')
    loop
        execute format('drop function %s', function_row.signature);
    end loop;
end
$do$
