-- Purpose: Pause or resume a queue, or override the concurrency limit that the apps declare (action 'cap'; null
-- removes the override), for all workers from their next claim on. Claimed tasks are not affected, except that
-- prefetched tasks of a paused queue return to the queue instead of starting. A resume also ends a hold of the queue
-- that a task has set because a service refused work. Returns whether this call changed anything; if so, workers are
-- woken, and the action of `who` is recorded.
-- Locks: for a limit, its new row in `locks`; then the queue's row; for a resume, the rows of its holds.
-- Called by: queries/monitoring.py.
-- Granted to: operator.
create function horsies.queue_control(queue_name text, action text, cap int, who text default null) returns boolean
security definer set search_path = pg_catalog, pg_temp
language plpgsql as $function$
declare
    before text;
    hold_has_ended boolean := false;
begin
    if cap is not null then
        insert into horsies.locks (name) values ('queue ' || queue_name) on conflict do nothing;
    end if;
    select (q.paused, q.max_concurrency)::text into before
    from horsies.queues q where q.name = queue_name for update;
    insert into horsies.queues as q (name, paused, max_concurrency)
    values (queue_name, action = 'pause', case when action = 'cap' then cap end)
    on conflict (name) do update
    set paused = case action when 'pause' then true when 'resume' then false else q.paused end,
        max_concurrency = case when action = 'cap' then cap else q.max_concurrency end;
    if action = 'resume' then
        delete from horsies.holds h where h.queue = queue_name and h.scope = 'queue';
        hold_has_ended := found;
    end if;
    perform horsies.forget_queue(queue_name);
    if not hold_has_ended and before is not distinct from
       (select (q.paused, q.max_concurrency)::text from horsies.queues q where q.name = queue_name) then
        return false;
    end if;
    perform horsies.record_action(who, 'queue.' || action, array[queue_name],
                                  case when action = 'cap' then json_build_object('max_concurrency', cap) end);
    perform horsies.announce_wake();
    return true;
end
$function$;
