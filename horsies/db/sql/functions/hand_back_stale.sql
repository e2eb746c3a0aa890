-- Purpose: return to the queue what is claimed and not begun by workers that have not sent a heartbeat for so many
-- seconds. What they have begun stays theirs. Returns how many went back; at most `most`.
-- Locks: task rows in the order of their ids, SKIP LOCKED. Called by: the broker object.
create function horsies.hand_back_stale(stale_after_seconds double precision, most int) returns int
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $function$
declare
    latest constant timestamptz := horsies.now() - make_interval(secs => stale_after_seconds);
    stale uuid[];
    returned int;
begin
    perform horsies.need_read_committed();
    select array_agg(locked.id) into stale
    from (
        select t.id from horsies.tasks t
        where t.status = 'CLAIMED'
          and not exists (select from horsies.workers w where w.id = t.worker_id and w.heartbeat_at > latest)
        order by t.id limit most
        for update skip locked
    ) as locked;
    returned := horsies.hand_back(stale, true);
    if returned > 0 then
        perform horsies.notify_wake();
    end if;
    return returned;
end
$function$;
