-- Purpose: List tasks that were not started by their `good_until`: those that `expire` will end, and those that
-- expired within the last day. At most `most`, the latest deadline first.
-- Planner settings: see docs/architecture.md.
-- Locks: none.
-- Called by: queries/monitoring.py.
-- Granted to: viewer, operator.
create function horsies.expired_tasks(most int) returns setof uuid
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set jit = off
as $function$
declare
    clock constant timestamptz := horsies.now();
begin
    return query
    select late.id from (
        select t.id, t.good_until from horsies.tasks t
        where t.good_until <= clock and t.status in ('PENDING', 'CLAIMED')
        union all
        select h.id, h.good_until from horsies.history h
        where h.finished_at > clock - interval '1 day' and h.status = 'EXPIRED'
    ) as late
    order by late.good_until desc, late.id limit most;
end
$function$;
