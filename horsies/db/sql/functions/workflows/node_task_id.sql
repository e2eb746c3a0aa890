-- Purpose: Make the id of a task that the database itself sends: a UUIDv7 of this time. The 24 bits after the time
-- are `place`, so that ids of the same time sort by it; the last 48 bits are a hash of `seed`, which identifies the
-- purpose of the task.
-- Locks: none.
-- Called by: workflow_enqueue, workflow_send_items.
-- Granted to: nobody.
create function horsies.node_task_id(clock timestamptz, place int, seed text) returns uuid
language sql stable as $function$
    select (lpad(to_hex((extract(epoch from clock) * 1000)::bigint), 12, '0')
            || '7' || left(lpad(to_hex(place), 6, '0'), 3) || '8' || right(lpad(to_hex(place), 6, '0'), 3)
            || left(md5(seed), 12))::uuid
$function$;
