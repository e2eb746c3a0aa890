-- Purpose: Return the key under which a task that is due takes its turn in a queue: its key, or '' if it has none. The
-- result is null if the keys of the queue do not take turns.
-- Locks: none.
-- Called by: enqueue, enqueue_many, insert_unique, rerun, rerun_many, return_to_queue, workflow_enqueue,
-- workflow_send_items.
-- Granted to: nobody.
create function horsies.turn_key_in(queue_name text, task_key text) returns text
language sql stable as $function$
    select coalesce(task_key, '') from horsies.queues q where q.name = queue_name and q.turns = 'on'
$function$;
