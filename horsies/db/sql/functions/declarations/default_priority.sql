-- Purpose: Return the priority of a task that is sent from SQL to a queue: the declared one if that is the queue of
-- the task, or else the priority with which other tasks of the queue were declared last, or else 100, the lowest.
-- Locks: none.
-- Called by: send.
-- Granted to: nobody.
create function horsies.default_priority(task text, queue text) returns int
language sql stable as $function$
    select coalesce((
        select d.priority::int from horsies.declarations d
        where d.is_current and d.queue = default_priority.queue
        order by d.task_name <> default_priority.task, d.registered_at desc, d.task_name
        limit 1), 100)
$function$;
