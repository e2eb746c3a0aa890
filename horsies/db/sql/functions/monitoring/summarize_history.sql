-- Purpose: Complete the block range index on `finished_at` in the partitions of history between two times. Ranges of
-- blocks without a summary would be read by every search. If another session keeps a partition locked (autovacuum
-- does), its summaries wait for the next call.
-- Locks: the partitions of history, against each other's summaries and vacuum.
-- Called by: sample.
-- Granted to: nobody.
create function horsies.summarize_history(since timestamptz, until timestamptz) returns void
language plpgsql
set lock_timeout = '100ms' set timezone = 'UTC'
as $function$
declare
    brin_index regclass;
begin
    for brin_index in
        select i.indexrelid::regclass
        from pg_index i join pg_class c on c.oid = i.indexrelid join pg_am m on m.oid = c.relam
        where m.amname = 'brin' and c.relkind = 'i' and i.indrelid in (
            select to_regclass(format('{horsies}.%I', p.name)) from horsies.history_partitions() p
            where p.first_day <= until::date and p.end_day > since::date
            union all select to_regclass('{horsies}.history_default'))
    loop
        begin
            perform brin_summarize_new_values(brin_index);
        exception when lock_not_available then
            null;
        end;
    end loop;
end
$function$;
