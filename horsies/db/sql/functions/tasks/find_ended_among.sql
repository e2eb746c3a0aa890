-- Purpose: Find the history rows of many tasks, newest partitions first. As in `find_ended`, the partitions of a few
-- days are searched at a time. If they have none of the rows, the subtransaction is rolled back, which releases their
-- locks.
--
-- Planner settings: see docs/architecture.md.
-- Locks: none.
-- Called by: enqueue_many.
-- Granted to: nobody.
create function horsies.find_ended_among(wanted uuid[]) returns table (id uuid, fingerprint bytea)
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off
as $function$
declare
    group_size constant int := 16;
    since bigint;
    until bigint;
    missing int := cardinality(wanted);
    found_here int;
begin
    foreach since in array
        array(select b.epoch
              from (select extract(epoch from p.first_day)::bigint as epoch,
                           row_number() over (order by p.first_day desc) as place
                    from horsies.history_partitions() as p) as b
              where b.place % group_size = 0 order by b.epoch desc) || null::bigint
    loop
        begin
            return query execute format(
                'select h.id, h.fingerprint from {horsies}.history h where h.id = any ($1)'
                ' and h.finished_at >= %s and h.finished_at < %s',
                coalesce('to_timestamp(' || since || ')', '''-infinity'''),
                coalesce('to_timestamp(' || until || ')', '''infinity''')) using wanted;
            get diagnostics found_here = row_count;
            if found_here = 0 then
                raise exception using errcode = 'P0H01';
            end if;
            missing := missing - found_here;
        exception when sqlstate 'P0H01' then
            null;
        end;
        exit when missing = 0;
        until := since;
    end loop;
end
$function$;
