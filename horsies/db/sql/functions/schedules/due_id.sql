-- Purpose: Make the id of the task that a schedule sends at a due time. It is always the same, so that the task
-- cannot be sent twice. It has the form of a UUIDv7: the due time in milliseconds, then a hash of the schedule's
-- name and the due time.
-- Locks: none.
-- Called by: schedule_tick.
-- Granted to: nobody.
create function horsies.due_id(schedule_name text, due timestamptz) returns uuid
language sql stable as $function$
    select (
        lpad(to_hex(floor(extract(epoch from due) * 1000)::bigint), 12, '0')
        || '7' || left(hash, 3) || '8' || substr(hash, 4, 15)
    )::uuid
    from encode(sha256(convert_to(
        schedule_name || e'\n' || (extract(epoch from due) * 1000000)::bigint, 'UTF8'
    )), 'hex') as hash
$function$;
