-- The id of a task that the database sends by itself: a UUIDv7 of this time whose next 24 bits are `place`, so that ids of
-- one time sort by it, and whose last 48 are a hash of `seed`, which names what the task is for.
-- Called by: workflow_enqueue, workflow_send_items.
create function horsies.node_task_id(clock timestamptz, place int, seed text) returns uuid
language sql stable as $function$
    select (lpad(to_hex((extract(epoch from clock) * 1000)::bigint), 12, '0')
            || '7' || left(lpad(to_hex(place), 6, '0'), 3) || '8' || right(lpad(to_hex(place), 6, '0'), 3)
            || left(md5(seed), 12))::uuid
$function$;
