-- Purpose: Record that a worker is alive, by how many seconds its clock is ahead of the server's if it knows, and the
-- attempts that it has counted in the minutes that are not sampled yet: `recent_counts` is an array of arrays of the
-- begin of a minute (seconds since 1970), the queue, the task, and the numbers of completed, failed and retried
-- attempts. `current_children` is an object about its child processes: `memory` has the megabytes of the child in each
-- slot (null: none is known), and `deaths` has the last deaths, each as an array of its time (seconds since 1970), the
-- slot, the process id, and its reason and cause in words. Returns false if the worker has been declared dead and its
-- tasks were recovered: it must then kill its children and register again with a new id. Workers of older releases
-- call this without the last arguments.
-- Locks: the worker's row, and then its rows of `current_counts`.
-- Called by: queries/worker.py.
-- Granted to: worker.
create function horsies.heartbeat(
    living_worker uuid, seconds_ahead double precision default null, recent_counts json default null,
    current_children json default null
) returns boolean
security definer set search_path = pg_catalog, pg_temp
language plpgsql as $function$
declare
    is_known boolean;
begin
    update horsies.workers w
    set heartbeat_at = horsies.server_time(), beats = w.beats + 1,
        clock_skew = coalesce(seconds_ahead, w.clock_skew), children = coalesce(current_children, w.children)
    where w.id = living_worker;
    is_known := found;
    if is_known and recent_counts is not null then
        delete from horsies.current_counts c where c.worker_id = living_worker;
        insert into horsies.current_counts (worker_id, started_at, queue, task_name, completed, failed, retried)
        select living_worker, to_timestamp((r.value ->> 0)::double precision), r.value ->> 1, r.value ->> 2,
               (r.value ->> 3)::bigint, (r.value ->> 4)::bigint, (r.value ->> 5)::bigint
        from json_array_elements(recent_counts) as r
        where not exists (select from horsies.sampling g
                          where to_timestamp((r.value ->> 0)::double precision) < g.sampled_until);
    end if;
    return is_known;
end
$function$;
