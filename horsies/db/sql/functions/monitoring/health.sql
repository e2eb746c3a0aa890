-- Purpose: Return figures about possible problems of a server in use, which the doctor evaluates:
--   - the server's real time, to compare it with other clocks;
--   - the number of live tasks, counted up to a million, and about how many dead rows the table has, by its
--     statistics;
--   - the number of days for which history has partitions, including today, and whether the default partition has
--     rows;
--   - the largest number of seconds by which the clock of a sender was ahead of the server's, of the latest 100
--     tasks. (An id that is older than the arrival of its task may belong to a replay.)
-- Planner settings: see docs/architecture.md.
-- Locks: none.
-- Called by: queries/monitoring.py.
-- Granted to: worker, viewer, operator.
create function horsies.health() returns table (
    clock timestamptz, live_rows bigint, dead_rows bigint, days_ahead int, default_has_rows boolean,
    sender_skew_seconds double precision
)
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set jit = off
as $function$
declare
    today constant date := (horsies.now() at time zone 'UTC')::date;
begin
    select clock_timestamp() into clock;
    -- Live rows are counted: their number in the statistics is an estimate, and can be wrong even for an empty table.
    select count(*) into live_rows from (select from horsies.tasks limit 1000000) as live;
    select s.n_dead_tup into dead_rows
    from pg_stat_all_tables s where s.relid = to_regclass('{horsies}.tasks');
    select count(*) into days_ahead
    from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent = to_regclass('{horsies}.history') and c.relname ~ '^history_[0-9]{8}$'
      and to_date(right(c.relname, 8), 'YYYYMMDD') >= today;
    default_has_rows := exists (select from horsies.history_default);
    select max(extract(epoch from horsies.uuid_time(t.id) - t.sent_at)) into sender_skew_seconds
    from (
        (select l.id, l.sent_at from horsies.tasks l order by l.id desc limit 100)
        union all
        (select h.id, h.sent_at from horsies.history h order by h.id desc limit 100)
    ) as t;
    return next;
end
$function$;
