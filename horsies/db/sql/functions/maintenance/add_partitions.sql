-- Purpose: Create the partitions of history for today and the next `days` days: one for each day or, if history is
-- kept for longer than 90 days (`keep_hours` null: for ever), one for the rest of the month. A server has room for
-- some thousand locks, and a query over all of history needs two for each partition. Existing partitions are never
-- changed: a month in which a later day has a partition already gets partitions for its days.
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
    this_day date;
    next_month date;
    end_day date;
    first_days date[];      -- of the partitions from today on, with the days after their last ones
    end_days date[];
    partition_name text;
    first_moment timestamptz;
    last_moment timestamptz;
    made int := 0;
begin
    select coalesce(array_agg(p.first_day), '{}'), coalesce(array_agg(p.end_day), '{}') into first_days, end_days
    from horsies.history_partitions() as p where p.end_day > today;
    for day in 0 .. days loop
        this_day := today + day;
        next_month := (date_trunc('month', this_day::timestamp) + interval '1 month')::date;
        continue when exists (
            select from unnest(first_days, end_days) as p (first_day, end_day)
            where p.first_day <= this_day and p.end_day > this_day);
        if by_month and not exists (
            select from unnest(first_days) as p (first_day) where p.first_day > this_day and p.first_day < next_month)
        then
            partition_name := 'history_' || to_char(this_day::timestamp, 'YYYYMM');
            end_day := next_month;
        else
            partition_name := 'history_' || to_char(this_day::timestamp, 'YYYYMMDD');
            end_day := this_day + 1;
        end if;
        first_moment := this_day::timestamp at time zone 'UTC';
        last_moment := end_day::timestamp at time zone 'UTC';
        lock table only horsies.history_default in share row exclusive mode;
        execute format('create table {horsies}.%I (like {horsies}.history including all)', partition_name);
        execute format(
            'with misplaced as (delete from {horsies}.history_default h'
            ' where h.finished_at >= %L and h.finished_at < %L returning h.*)'
            ' insert into {horsies}.%I select * from misplaced', first_moment, last_moment, partition_name);
        execute format('alter table {horsies}.history attach partition {horsies}.%I for values from (%L) to (%L)',
                       partition_name, first_moment, last_moment);
        first_days := first_days || this_day;
        end_days := end_days || end_day;
        made := made + 1;
    end loop;
    return made;
end
$function$;
