-- Purpose: Return how many tasks of a queue occupy or need a place in a worker: those that are due and can start, and
-- those that are claimed or running. Tasks that wait in a paused or held queue do not count, because more workers
-- would not start them. Meant for autoscaling. Beyond 100,000 the number is the last one of maintenance.
-- Planner settings: see docs/architecture.md.
-- Locks: none.
-- Called by: queries/status.py.
-- Granted to: viewer, operator.
create function horsies.backlog(queue_name text) returns bigint
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set enable_seqscan = off set jit = off
as $function$
declare
    clock constant timestamptz := horsies.now();
    in_flight bigint;
    waiting bigint := 0;
begin
    select count(*) into in_flight from horsies.tasks t where t.queue = queue_name and t.status <> 'PENDING';
    if not exists (select from horsies.queues q where q.name = queue_name and q.paused)
       and not exists (select from horsies.holds h where h.queue = queue_name and h.scope = 'queue' and h.key = ''
                                                     and h.until > clock) then
        select coalesce(sum(f.waiting), 0) into waiting
        from horsies.waiting_figures(clock, only_queue => queue_name) as f;
    end if;
    return in_flight + waiting;
end
$function$;
