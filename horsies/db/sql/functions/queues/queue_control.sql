-- Purpose: Pause or resume a queue, or override the concurrency limit that the apps declare (action 'cap'; null
-- removes the override), for all workers from their next claim on. Claimed tasks are not affected, except that
-- prefetched tasks of a paused queue return to the queue instead of starting. Returns whether this call changed
-- anything; if so, workers are woken.
-- Locks: the queue's row; for a limit, its new row in `locks`.
-- Called by: queries/monitoring.py.
-- Granted to: operator.
create function horsies.queue_control(queue_name text, action text, cap int) returns boolean
security definer set search_path = pg_catalog, pg_temp
language plpgsql as $function$
declare
    before text;
begin
    select (q.paused, q.max_concurrency)::text into before
    from horsies.queues q where q.name = queue_name for update;
    insert into horsies.queues as q (name, paused, max_concurrency)
    values (queue_name, action = 'pause', case when action = 'cap' then cap end)
    on conflict (name) do update
    set paused = case action when 'pause' then true when 'resume' then false else q.paused end,
        max_concurrency = case when action = 'cap' then cap else q.max_concurrency end;
    if cap is not null then
        insert into horsies.locks (name) values ('queue ' || queue_name) on conflict do nothing;
    end if;
    perform horsies.forget_queue(queue_name);
    if before is not distinct from
       (select (q.paused, q.max_concurrency)::text from horsies.queues q where q.name = queue_name) then
        return false;
    end if;
    perform horsies.announce_wake();
    return true;
end
$function$;
