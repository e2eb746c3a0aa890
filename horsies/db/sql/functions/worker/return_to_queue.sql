-- Purpose: return claims that never began to the queue, with their attempt given back.
-- Returns how many were returned. Locks: none of its own; its caller holds the task rows.
-- Called by: start, renew, release, reconcile, reap, return_stale_to_queue, workflow_pause.
create function horsies.return_to_queue(ids uuid[], because_worker_died boolean) returns int
language plpgsql as $function$
declare
    returned int;
begin
    update horsies.tasks t
    set status = 'PENDING', worker_id = null, exchange_no = null, lease_until = null, claimed_at = null,
        started_at = null, attempt = t.attempt - (t.status = 'RUNNING')::int,
        hand_backs = t.hand_backs + because_worker_died::int
    where t.id = any (ids) and t.status <> 'PENDING';
    get diagnostics returned = row_count;
    return returned;
end
$function$;
