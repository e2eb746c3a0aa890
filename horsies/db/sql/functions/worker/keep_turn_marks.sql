-- Purpose: Remember in this session where the next walks over the keys of a queue and priority may begin to look.
--
-- `keep_claim_marks` explains why claims keep marks, and how long they may be used. The marks of keys are *ranges*:
-- they divide all keys, in their order, and each says that no task of its keys was waiting that was due before a
-- certain time. A range ends with the key in `uppers` (null: it has no end), and `since` are the times in parallel. A
-- walk over some keys writes the ranges of these keys only (`merge_turn_marks`), so a range that no walk has visited
-- yet has the time -infinity. From the first of these walks on, all ranges are used for 5 s: a look at everything
-- takes many claims. Then they are forgotten, and the next walks look at everything again. There are at most
-- `most_ranges`; of more, two adjacent ones become one. So the marks stay small however many keys there are.
--
-- The number of tasks in flight of a key is counted from a time on as well, because claimed tasks leave dead rows,
-- too. `in_flight` has the time `since` after which all claims are counted, and the keys that had tasks in flight
-- which were claimed before, with the time of the first claim of each. These marks hide nothing, and are right for any
-- time: the caller holds the lock of the queue, under which all claims of its tasks are made, so nobody can still
-- claim a task with an earlier time. Tasks without a key are always counted completely: those that were claimed before
-- the keys of the queue took turns do not count until `backfill_turns` marks them. The time is `slack` before the
-- clock nevertheless, for claims that began before the keys of the queue took turns, and for a clock that is set back
-- a little. After a greater step back, everything is counted.
--
-- With `uppers` null, the ranges of the priority are forgotten. The time of `in_flight` stays for a while, because the
-- first search for it steps over all dead rows of claims.
--
-- Planner settings: see docs/architecture.md.
-- Locks: none. The caller holds the lock of the queue.
-- Called by: claim_in_turns.
-- Granted to: nobody.
create function horsies.keep_turn_marks(
    queue_name text, at_priority int, uppers text[], since timestamptz[], counts_claimed boolean, clock timestamptz
) returns void
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $function$
declare
    longest constant interval := '5 s';
    most_ranges constant int := 1000;
    slack constant interval := '10 s';
    in_flight_stays constant interval := '1 min';
    marks jsonb := coalesce(horsies.turn_marks(queue_name), jsonb_build_object(
        'table', '{horsies}.tasks'::regclass::oid::text, 'queue', queue_name));
    kept constant jsonb := marks -> at_priority::text;
    is_used constant boolean := coalesce(
        clock between (kept ->> 'from')::timestamptz and (kept ->> 'until')::timestamptz, false);
    begun constant timestamptz := case when is_used then (kept ->> 'from')::timestamptz else clock end;
begin
    select coalesce(jsonb_object_agg(m.name, m.value), '{}') into marks
    from jsonb_each(marks) as m (name, value)
    where ((m.value ->> 'until')::timestamptz < clock) is not true;
    if uppers is null then
        marks := marks - at_priority::text;
    else
        if cardinality(uppers) > most_ranges then
            select array_agg(pair.upper order by pair.number), array_agg(pair.since order by pair.number)
            into uppers, since
            from (select (r.place - 1) / 2 as number, (array_agg(r.upper order by r.place desc))[1] as upper,
                         min(r.since) as since
                  from unnest(uppers, since) with ordinality as r (upper, since, place) group by 1) as pair;
        end if;
        if counts_claimed and not is_used then
            marks := marks || jsonb_build_object(
                'in_flight', horsies.in_flight_marks(queue_name, marks -> 'in_flight', clock, clock - slack));
        end if;
        marks := marks || jsonb_build_object(at_priority::text, jsonb_build_object(
            'from', begun, 'until', begun + longest, 'uppers', to_jsonb(uppers), 'since', to_jsonb(since)));
    end if;
    if (marks -> 'in_flight' ->> 'at')::timestamptz < clock - in_flight_stays then
        marks := marks - 'in_flight';
    end if;
    perform set_config('horsies.turn_marks_' || md5(queue_name),
                       case when marks - 'table' - 'queue' = '{}' then '' else marks::text end, false);
end
$function$;
