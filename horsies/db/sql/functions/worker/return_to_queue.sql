-- Purpose: Return claimed tasks that never started to the queue, and restore their attempt number. Returns how many
-- were returned.
-- Locks: none. The caller holds the task rows.
-- Called by: reap, reconcile, release, renew, return_stale_to_queue, start, workflow_pause.
-- Granted to: nobody.
create function horsies.return_to_queue(ids uuid[], because_worker_died boolean) returns int
language plpgsql as $function$
declare
    returned int;
begin
    if ids is null then                             -- such a statement would be planned to read any index
        return 0;
    end if;
    update horsies.tasks t
    set status = 'PENDING', worker_id = null, exchange_no = null, lease_until = null, claimed_at = null,
        started_at = null, attempt = t.attempt - (t.status = 'RUNNING')::int,
        worker_deaths = t.worker_deaths + because_worker_died::int,
        turn_key = case when t.turn_key is not null then horsies.turn_key_in(t.queue, t.task_key) end
    where t.id = any (ids) and t.status is distinct from 'PENDING';
    get diagnostics returned = row_count;
    return returned;
end
$function$;
