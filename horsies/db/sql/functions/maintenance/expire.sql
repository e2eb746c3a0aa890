-- Purpose: End tasks that were not started by their `good_until`, at most `most` per call. Returns how many ended.
-- Prefetched tasks that expire make room below limits, so workers are woken. Then the buckets of ended rates are
-- deleted (`end_rates`).
-- Planner settings: see docs/architecture.md.
-- Locks: root runs, then task rows, both in the order of their ids, SKIP LOCKED; then the locks of queues, SKIP
-- LOCKED, and their rows of buckets and `rates`.
-- Called by: queries/worker.py.
-- Granted to: worker.
create function horsies.expire(most int) returns int
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $function$
declare
    clock constant timestamptz := horsies.now();
    overdue uuid[];
    expiry constant json := horsies.task_error('TASK_EXPIRED', 'the task was not started by its good_until');
begin
    perform horsies.need_read_committed();
    perform horsies.end_turns();
    overdue := array(
        select t.id from horsies.tasks t
        where t.good_until <= clock and t.status in ('PENDING', 'CLAIMED')
        order by t.id limit most);
    if cardinality(overdue) = 0 then
        perform horsies.end_rates(most);
        return 0;
    end if;
    overdue := horsies.lock_free_roots(overdue);
    overdue := array(
        select t.id from horsies.tasks t
        where t.id = any (overdue) and t.started_at is null
        order by t.id
        for update skip locked);
    perform horsies.announce_wake()
    where exists (select from horsies.tasks t where t.id = any (overdue) and t.status = 'CLAIMED');
    overdue := horsies.end_tasks(overdue, 'EXPIRED', expiry, 'TASK_EXPIRED', clock);
    perform horsies.announce_ids('done', overdue);
    perform horsies.end_rates(most);
    return coalesce(cardinality(overdue), 0);
end
$function$;
