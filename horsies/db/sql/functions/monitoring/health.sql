-- Purpose: what may go wrong with a server in use, in numbers, for the doctor to judge.
--   clock: the server's real time, to compare others' with; the oldest transaction or replication slot that keeps dead
--   rows from being removed, how old it is in seconds, and what it is (null where the user may not see it). A scheduler's
--   is none: `schedule_lead` has a new snapshot twice a second;
--   rows of live tasks, counted up to a million; about how many dead rows there are beside them, by the statistics; days for which history has partitions, today included;
--   whether rows went to the default partition;
--   by how many seconds the clock of a sender was ahead of the server's, at most, of the latest 100 tasks. (An id that
--   is older than its task's arrival may be that of a replay.)
-- Locks: none. Called by: the doctor.
create function horsies.health() returns table (
    clock timestamptz, oldest_seconds double precision, oldest text, live_rows bigint, dead_rows bigint,
    days_ahead int, has_strays boolean, sender_skew_seconds double precision
)
language plpgsql
set jit = off
as $function$
declare
    today constant date := (horsies.now() at time zone 'UTC')::date;
begin
    select clock_timestamp() into clock;
    select extract(epoch from clock - held.since), held.what into oldest_seconds, oldest
    from (
        select a.xact_start, format('process %s (%s, user %s, %s)', a.pid, a.application_name, a.usename, a.state)
        from pg_stat_activity a
        where (a.backend_xmin is not null or a.backend_xid is not null) and a.pid <> pg_backend_pid()
          and a.datname = current_database() and a.backend_type = 'client backend'
          and not (a.backend_xid is null and a.query like '%.schedule_lead(%')
        union all
        select p.prepared, format('prepared transaction %L', p.gid)
        from pg_prepared_xacts p where p.database = current_database()
    ) as held (since, what)
    where held.since is not null
    order by held.since limit 1;
    -- The statistics are estimates also of live rows, and may speak of tasks in an empty table.
    select count(*) into live_rows from (select from horsies.tasks limit 1000000) as live;
    select s.n_dead_tup into dead_rows
    from pg_stat_all_tables s where s.relid = to_regclass('{horsies}.tasks');
    select count(*) into days_ahead
    from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent = to_regclass('{horsies}.history') and c.relname ~ '^history_[0-9]{8}$'
      and to_date(right(c.relname, 8), 'YYYYMMDD') >= today;
    has_strays := exists (select from horsies.history_default);
    select max(extract(epoch from horsies.uuid_time(t.id) - t.sent_at)) into sender_skew_seconds
    from (
        (select l.id, l.sent_at from horsies.tasks l order by l.id desc limit 100)
        union all
        (select h.id, h.sent_at from horsies.history h order by h.id desc limit 100)
    ) as t;
    return next;
end
$function$;
