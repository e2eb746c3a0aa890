-- Run this as the owner of the schema. Nobody else may have the right CREATE on the schema.
begin;
set local search_path = pg_catalog, pg_temp;
{statements}commit;
