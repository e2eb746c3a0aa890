-- Purpose: List the partitions of history that `add_partitions` has created, one for each day (history_YYYYMMDD) or for
-- a month or the rest of one (history_YYYYMM), with their bounds. The default partition and tables with other names are
-- left out. The bounds are printed in UTC and ISO style, because only these can be read back in every session.
-- Locks: none.
-- Called by: add_partitions, find_ended, health, prune.
-- Granted to: nobody.
create function horsies.history_partitions() returns table (name name, since timestamptz, until timestamptz)
language sql stable
set timezone = 'UTC' set datestyle = 'ISO'
as $function$
    select listed.relname, (bounds.found)[1]::timestamptz, (bounds.found)[2]::timestamptz
    from pg_inherits i
    join pg_class listed on listed.oid = i.inhrelid
    cross join lateral regexp_match(
        pg_get_expr(listed.relpartbound, listed.oid), 'FROM \(''([^'']+)''\) TO \(''([^'']+)''\)') as bounds (found)
    where i.inhparent = to_regclass('{horsies}.history') and listed.relname ~ '^history_([0-9]{6}|[0-9]{8})$'
      and bounds.found is not null
$function$;
