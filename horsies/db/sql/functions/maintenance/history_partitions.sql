-- Purpose: List the partitions of history that `add_partitions` has created, by their names: one for a day
-- (history_YYYYMMDD) or for a month or the rest of one (history_YYYYMM). The default partition and tables with other
-- names are left out. To read the bounds would take a hundred times as long.
-- Locks: none.
-- Called by: add_partitions, find_ended, find_ended_among, health, summarize_history.
-- Granted to: nobody.
create function horsies.history_partitions() returns table (name name, first_day date, end_day date)
language sql stable as $function$
    select days.relname, to_date(right(days.relname, 8), 'YYYYMMDD'), to_date(right(days.relname, 8), 'YYYYMMDD') + 1
    from pg_inherits i join pg_class days on days.oid = i.inhrelid
    where i.inhparent = to_regclass('{horsies}.history') and days.relname ~ '^history_[0-9]{8}$'
    union all
    select months.relname, to_date(right(months.relname, 6), 'YYYYMM'),
           (to_date(right(months.relname, 6), 'YYYYMM') + interval '1 month')::date
    from pg_inherits i join pg_class months on months.oid = i.inhrelid
    where i.inhparent = to_regclass('{horsies}.history') and months.relname ~ '^history_[0-9]{6}$'
$function$;
