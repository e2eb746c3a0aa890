-- Purpose: Create the partitions of history for today and the next `days` days. Each is created separately, filled
-- with the rows of its day from the default partition (normally none), and attached. Returns how many were created.
-- The bounds are written as literals, in UTC and ISO style, because some zone abbreviations (IST, for example) are
-- ambiguous.
-- Locks: the default partition, first against writers (an outcome that commits in between would block the new
-- partition), then exclusively and briefly. After 100 ms the function gives up, and the next call tries again.
-- Called by: migrate.py, queries/worker.py.
-- Granted to: worker.
create function horsies.add_partitions(days int) returns int
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set lock_timeout = '100ms' set timezone = 'UTC' set datestyle = 'ISO'
as $function$
declare
    today constant date := (horsies.now() at time zone 'UTC')::date;
    first_moment timestamptz;
    last_moment timestamptz;
    partition_name text;
    made int := 0;
begin
    for day in 0 .. days loop
        partition_name := 'history_' || to_char(today + day, 'YYYYMMDD');
        continue when to_regclass('{horsies}.' || partition_name) is not null;
        first_moment := (today + day)::timestamp at time zone 'UTC';
        last_moment := (today + day + 1)::timestamp at time zone 'UTC';
        lock table horsies.history_default in share row exclusive mode;
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
