-- Purpose: Do the same as `take` for tasks that were found by their keys, and return the key of each task as well. A
-- task whose key or queue was changed since it was read is skipped. The tasks start at once; they are not prefetched.
-- Locks: those of `take` or `take_singly`. The caller holds the lock of the queue.
-- Called by: claim_in_turns.
-- Granted to: nobody.
create function horsies.take_keys(
    claiming_worker uuid, exchange bigint, candidates uuid[], keys text[], most int, clock timestamptz,
    queue_names text[], rooms int[], singly boolean
) returns table (
    id uuid, task_name text, args json, attempt int, timeout_ms int, queue text, capped boolean, root_id uuid,
    inputs json, trace_context json, due_in double precision, turn_key text
)
language plpgsql as $function$
declare
    locked uuid[];
begin
    locked := array(
        select t.id from unnest(candidates, keys) with ordinality as candidate (id, key, place)
        join horsies.tasks t on t.id = any (array[candidate.id])
        where t.worker_id is null and not t.held and t.turn_key = candidate.key
          and (t.good_until > clock) is not false
        order by candidate.place limit most
        for update of t skip locked);
    if singly then
        return query
        select taken.id, taken.task_name, taken.args, taken.attempt, taken.timeout_ms, taken.queue, taken.capped,
               taken.root_id, taken.inputs, taken.trace_context, taken.due_in, given.key
        from horsies.take_singly(claiming_worker, exchange, locked, most, clock, null, queue_names, rooms) as taken
        join unnest(candidates, keys) with ordinality as given (id, key, place) on given.id = taken.id
        order by given.place;
    else
        return query
        select taken.id, taken.task_name, taken.args, taken.attempt, taken.timeout_ms, taken.queue, taken.capped,
               taken.root_id, taken.inputs, taken.trace_context, taken.due_in, given.key
        from horsies.take(claiming_worker, exchange, locked, most, clock, null, queue_names, rooms) as taken
        join unnest(candidates, keys) with ordinality as given (id, key, place) on given.id = taken.id
        order by given.place;
    end if;
end
$function$;
