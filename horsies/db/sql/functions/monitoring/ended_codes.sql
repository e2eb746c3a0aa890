-- Purpose: List the error codes of the `looked_at` latest sent of the tasks that have ended, each once, in
-- alphabetical order, as suggestions for a mistyped code. The search reads the primary keys of history's partitions,
-- as `list_tasks` does.
-- Planner settings: see docs/architecture.md.
-- Locks: none.
-- Called by: queries/monitoring.py.
-- Granted to: viewer, operator.
create function horsies.ended_codes(looked_at int default 100000) returns setof text
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $function$
begin
    return query
    select distinct late.error_code
    from (select h.error_code from horsies.history h order by h.id desc limit looked_at) as late
    where late.error_code is not null
    order by late.error_code;
end
$function$;
