-- Purpose: Create the partitions of history for today and the next `days` days: one for each day or, if history is kept
-- for longer than 90 days (`keep_hours` null: for ever), one for the rest of the month. A server has room for some
-- thousand locks, and a query over all of history needs two for each partition. Existing partitions are never changed:
-- a month in which a later day has a partition already gets partitions for its days.
--
-- Each partition is created separately, filled with the rows of its time from the default partition (normally none),
-- and attached. Returns how many were created. The bounds are written as literals, in UTC and ISO style, because some
-- zone abbreviations (IST, for example) are ambiguous.
--
-- Locks: the default partition, first against writers (an outcome that commits in between would block the new
-- partition), then exclusively and briefly. After 100 ms the function gives up, and the next call tries again.
-- Called by: migrate.py, queries/worker.py.
-- Granted to: worker.
create function horsies.add_partitions(days int, keep_hours double precision default 0) returns int
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set lock_timeout = '100ms' set timezone = 'UTC' set datestyle = 'ISO'
as $function$
declare
    most_hours_by_day constant double precision := 90 * 24;
    by_month constant boolean := keep_hours is null or keep_hours > most_hours_by_day;
    today constant date := (horsies.now() at time zone 'UTC')::date;
    first_moment timestamptz;
    last_moment timestamptz;
    next_month timestamptz;
    partition_name text;
    made int := 0;
begin
    for day in 0 .. days loop
        first_moment := (today + day)::timestamp at time zone 'UTC';
        continue when exists (
            select from horsies.history_partitions() p where p.since <= first_moment and p.until > first_moment);
        next_month := (date_trunc('month', today + day) + interval '1 month') at time zone 'UTC';
        if by_month and not exists (
            select from horsies.history_partitions() p where p.since > first_moment and p.since < next_month)
        then
            partition_name := 'history_' || to_char(today + day, 'YYYYMM');
            last_moment := next_month;
        else
            partition_name := 'history_' || to_char(today + day, 'YYYYMMDD');
            last_moment := (today + day + 1)::timestamp at time zone 'UTC';
        end if;
        lock table only horsies.history_default in share row exclusive mode;
        execute format('create table {horsies}.%I (like {horsies}.history including all)', partition_name);
        execute format(
            'with misplaced as (delete from {horsies}.history_default h'
            ' where h.finished_at >= %L and h.finished_at < %L returning h.*)'
            ' insert into {horsies}.%I select * from misplaced', first_moment, last_moment, partition_name);
        execute format('alter table {horsies}.history attach partition {horsies}.%I for values from (%L) to (%L)',
                       partition_name, first_moment, last_moment);
        made := made + 1;
    end loop;
    return made;
end
$function$;
