-- Purpose: Return claimed tasks that have not started to the queue if their lease has expired, or if their worker is
-- silent: it is named in `silent`, or, if that is null, it has sent no heartbeat for this many seconds. Tasks that
-- have started stay with their worker. So do tasks that would return for the fifth time because of dead workers:
-- `reap` fails them when the worker is dead. Returns how many were returned; at most `most`. If `who` is given, a
-- person or program operates the queue, and the action is recorded.
-- Planner settings: see docs/architecture.md.
-- Locks: task rows in the order of their ids, SKIP LOCKED.
-- Called by: queries/monitoring.py.
-- Granted to: worker, operator.
create function horsies.return_stale_to_queue(
    stale_after_seconds double precision, most int, silent uuid[] default null, who text default null
) returns int
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $function$
declare
    most_worker_deaths constant int := 5;      -- as in `reap`
    clock constant timestamptz := horsies.server_time();
    latest constant timestamptz := clock - make_interval(secs => stale_after_seconds);
    stale uuid[];
    passed uuid[];
    returned int;
begin
    perform horsies.need_read_committed();
    select array_agg(locked.id) filter (where locked.is_stale), array_agg(locked.id) filter (where not locked.is_stale)
    into stale, passed
    from (
        select t.id, w.id is null as is_stale
        from horsies.tasks t
        left join horsies.workers w
            on w.id = t.worker_id
            and case when silent is null then w.heartbeat_at > latest else w.id <> all (silent) end
        where t.status = 'CLAIMED'
          and case when w.id is null then t.worker_deaths < most_worker_deaths - 1 else t.lease_until <= clock end
        order by t.id limit most
        for update of t skip locked
    ) as locked;
    returned := horsies.return_to_queue(stale, true) + horsies.return_to_queue(passed, false);
    perform horsies.record_action(who, 'task.return', (stale || passed)::text[], null) where who is not null;
    perform horsies.announce_wake() where returned > 0;
    return returned;
end
$function$;
