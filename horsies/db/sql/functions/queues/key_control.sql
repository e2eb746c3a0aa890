-- Purpose: Pause or resume a key of a keyed queue, for all workers from their next claim on; '' is the key of the
-- tasks without one. Claimed tasks are not affected. A resume also ends a hold that a task has set because a service
-- refused work (`postpone`). Returns 'changed', 'unchanged' or 'not keyed'. A change is recorded.
-- Locks: a pause: those of `hold`. A resume: the rows of its holds.
-- Called by: queries/limits.py.
-- Granted to: operator.
create function horsies.key_control(queue_name text, wanted_key text, action text, set_by text, reason text)
returns text
security definer set search_path = pg_catalog, pg_temp
language plpgsql as $function$
declare
    clock constant timestamptz := horsies.now();
begin
    perform horsies.need_read_committed();
    if action = 'resume' then
        delete from horsies.holds h where h.queue = queue_name and h.scope = 'key' and h.key = wanted_key;
        if not found then
            return 'unchanged';
        end if;
        perform horsies.record_action(set_by, 'key.resume', array[wanted_key], json_build_object('queue', queue_name));
        perform horsies.announce_wake();
        return 'changed';
    end if;
    if not exists (select from horsies.queues q where q.name = queue_name and q.turns = 'on') then
        return 'not keyed';
    end if;
    if exists (select from horsies.holds h
               where h.queue = queue_name and h.scope = 'key' and h.key = wanted_key and h.kind = 'paused') then
        return 'unchanged';
    end if;
    perform horsies.hold(array[queue_name], array['key'], array[wanted_key], 'paused', array['infinity'::timestamptz],
                         array[left(coalesce(set_by, session_user), 200)], array[left(reason, 200)], clock);
    perform horsies.record_action(set_by, 'key.pause', array[wanted_key],
                                  json_build_object('queue', queue_name, 'reason', left(reason, 200)));
    return 'changed';
end
$function$;
