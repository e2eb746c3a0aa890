-- Purpose: forget what is older than the retention: whole days of history are dropped, and the attempts of their
-- tasks with them. Returns how many days were dropped.
-- Locks: history, exclusively and briefly; gives up after 100 ms, the next call tries again.
-- Called by: duties of any worker.
create function horsies.prune(keep_hours double precision) returns int
language plpgsql
set lock_timeout = '100ms'
as $function$
declare
    oldest_kept constant timestamptz := horsies.now() - make_interval(secs => keep_hours * 3600);
    day_table record;
    dropped int := 0;
begin
    for day_table in
        select c.relname as name
        from pg_inherits i join pg_class c on c.oid = i.inhrelid
        where i.inhparent = to_regclass('horsies.history') and c.relname ~ '^history_[0-9]{8}$'
          and (to_date(right(c.relname, 8), 'YYYYMMDD') + 1)::timestamp at time zone 'UTC' <= oldest_kept
        order by c.relname
    loop
        execute format('drop table horsies.%I', day_table.name);
        dropped := dropped + 1;
    end loop;
    delete from horsies.history_default h where h.finished_at < oldest_kept;
    delete from horsies.attempts a
    where a.finished_at < oldest_kept and not exists (select from horsies.tasks t where t.id = a.task_id);
    return dropped;
end
$function$;
