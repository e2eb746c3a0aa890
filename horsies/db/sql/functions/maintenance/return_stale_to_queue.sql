-- Purpose: return to the queue what is claimed and not begun by workers that have not sent a heartbeat for so many
-- seconds, or have let its lease pass. What they have begun stays theirs, and what would go back for the fifth time
-- because of them: `reap` fails it when they are dead. Returns how many went back; at most `most`.
-- Locks: task rows in the order of their ids, SKIP LOCKED. Called by: duties of any worker; the broker object.
create function horsies.return_stale_to_queue(stale_after_seconds double precision, most int) returns int
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $function$
declare
    most_hand_backs constant int := 5;      -- as in `reap`
    clock constant timestamptz := horsies.now();
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
        left join horsies.workers w on w.id = t.worker_id and w.heartbeat_at > latest
        where t.status = 'CLAIMED'
          and case when w.id is null then t.hand_backs < most_hand_backs - 1 else t.lease_until <= clock end
        order by t.id limit most
        for update of t skip locked
    ) as locked;
    returned := horsies.return_to_queue(stale, true) + horsies.return_to_queue(passed, false);
    perform horsies.notify_wake() where returned > 0;
    return returned;
end
$function$;
