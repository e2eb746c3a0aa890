-- Purpose: Delete what is older than the retention period, one step for each call: the oldest partition of history
-- that is older as a whole, with the attempts, the reruns and the idempotency keys of its tasks; rows of the default
-- partition; records of actions; or actions on many tasks. Call again until it returns 0: it returns how many
-- partitions were dropped (0 or 1) or, before that, how many rows were deleted if there may be more of them. No step
-- deletes more than `most` rows, and rows are deleted in transactions before the one that drops their partition, so a
-- partition that cannot be dropped costs nothing that was done before.
--
-- A partition cannot be dropped while another transaction reads history. Then up to `most` of its rows are deleted, so
-- that a reader that never ends does not keep history for ever, and 0 is returned: the next step can wait.
--
-- An old attempt of a task that ended on a day that is kept stays with the task.
--
-- Locks: the rows that are deleted; or, because it blocks everybody, history, exclusively and briefly, before the
-- partition is dropped. After 100 ms the function gives up, and the next call tries again.
-- Called by: queries/worker.py.
-- Granted to: worker.
create function horsies.prune(keep_hours double precision, most int default 10000) returns int
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set lock_timeout = '100ms'
as $function$
declare
    oldest_kept constant timestamp := (horsies.now() - make_interval(secs => keep_hours * 3600)) at time zone 'UTC';
    first_kept constant timestamptz := date_trunc('day', oldest_kept) at time zone 'UTC';
    oldest name;
    child record;
    ids uuid[];
    deleted int;
begin
    ids := array(select h.id from horsies.history_default h where h.finished_at < first_kept limit most);
    if cardinality(ids) > 0 then
        delete from horsies.attempts a where a.task_id = any (ids);
        delete from horsies.reruns r where r.origin = any (ids);
        delete from horsies.idempotency_keys k where k.task_id = any (ids);
        delete from horsies.replacements r where r.task_id = any (ids);
        delete from horsies.history_default h where h.id = any (ids);
        return cardinality(ids);
    end if;
    deleted := horsies.prune_audit(first_kept, most);
    if deleted = 0 then
        deleted := horsies.prune_bulk_actions(first_kept, most);
    end if;
    if deleted > 0 then
        return deleted;
    end if;

    -- The names sort by time, so the index of names has the oldest partition first.
    select days.relname into oldest
    from pg_class days
    where days.relnamespace = (select c.relnamespace from pg_class c where c.oid = to_regclass('{horsies}.history'))
      and days.relname > 'history_0' and days.relname < 'history_a' and days.relkind = 'r' and days.relispartition
      and days.relname ~ '^history_([0-9]{6}|[0-9]{8})$'
      and case length(days.relname)
          when length('history_YYYYMMDD') then to_date(right(days.relname, 8), 'YYYYMMDD') + 1
          else (to_date(right(days.relname, 6), 'YYYYMM') + interval '1 month')::date end <= oldest_kept::date
    order by days.relname limit 1;
    if oldest is null then
        return 0;
    end if;
    for child in
        select * from (values ('attempts', 'task_id'), ('reruns', 'origin'), ('idempotency_keys', 'task_id'),
                              ('replacements', 'task_id')) as c (table_name, task_column)
    loop
        execute format(
            'delete from {horsies}.%1$I where ctid = any (array('
            ' select c.ctid from {horsies}.%1$I c join {horsies}.%2$I h on h.id = c.%3$I limit $1))',
            child.table_name, oldest, child.task_column) using most;
        get diagnostics deleted = row_count;
        if deleted = most then
            return deleted;
        end if;
    end loop;
    begin
        lock table only horsies.history in access exclusive mode;
        execute format('drop table {horsies}.%I', oldest);
        return 1;
    exception when lock_not_available then
        execute format(
            'delete from {horsies}.%I where ctid = any (array(select h.ctid from {horsies}.%I h limit $1))',
            oldest, oldest) using most;
        return 0;
    end;
end
$function$;
