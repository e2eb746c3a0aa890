-- Purpose: Delete what is older than the retention period: whole days (UTC) of history are dropped, together with
-- the attempts of their tasks and the records of their reruns. Returns how many days were dropped. Attempts have no
-- index by time, so they are scanned only when a day is dropped. An old attempt of a task that ended on a day that
-- is kept stays with it.
-- Locks: attempts and reruns that are deleted; last, because it blocks everybody, history, exclusively and briefly.
-- After 100 ms the function gives up, and the next call tries again.
-- Called by: queries/worker.py.
-- Granted to: worker.
create function horsies.prune(keep_hours double precision) returns int
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set lock_timeout = '100ms'
as $function$
declare
    oldest_kept constant timestamp := (horsies.now() - make_interval(secs => keep_hours * 3600)) at time zone 'UTC';
    first_kept constant timestamptz := date_trunc('day', oldest_kept) at time zone 'UTC';
    old_days name[];
    old_day name;
begin
    delete from horsies.history_default h where h.finished_at < first_kept;
    select array_agg(c.relname order by c.relname) into old_days
    from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent = to_regclass('{horsies}.history') and c.relname ~ '^history_[0-9]{8}$'
      and to_date(right(c.relname, 8), 'YYYYMMDD') < oldest_kept::date;
    if old_days is null then
        return 0;
    end if;
    delete from horsies.attempts a
    where a.finished_at < first_kept
      and not exists (select from horsies.tasks t where t.id = a.task_id)
      and not exists (select from horsies.history h where h.id = a.task_id and h.finished_at >= first_kept);
    delete from horsies.reruns r where r.sent_at < first_kept;     -- an origin ends before its rerun is sent
    foreach old_day in array old_days loop
        execute format('drop table {horsies}.%I', old_day);
    end loop;
    return cardinality(old_days);
end
$function$;
