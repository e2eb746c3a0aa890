-- Purpose: Return figures about possible problems of a server in use, which the doctor evaluates:
--   - the server's real time, to compare it with other clocks;
--   - the number of live tasks, counted up to 100,000 and estimated beyond, and about how many dead rows the table
--     has, by its statistics;
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
    -- A count of millions would take longer than all the rest, and an estimate is good enough then.
    select count(*) into live_rows from (select from horsies.tasks limit 100001) as live;
    select s.n_dead_tup, case when live_rows > 100000 then greatest(live_rows, s.n_live_tup) else live_rows end
    into dead_rows, live_rows
    from pg_stat_all_tables s where s.relid = to_regclass('{horsies}.tasks');
    select coalesce(sum(p.end_day - greatest(p.first_day, today)), 0) into days_ahead
    from horsies.history_partitions() as p where p.end_day > today;
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
