-- Purpose: Walk over the next `most` keys with waiting tasks of a queue and priority, after a key, with one probe of
-- the index for each. Returns them in their order with their room: how many tasks of the key may start, at most
-- `most_room`. `free_at` is when a key that waits for tokens or for the end of a hold may start one; null: a finish
-- frees it. `first_due` is the due time of the first task of the key. (`after_key`, `after_time`) is a position in the
-- index; ('', '-infinity') is its beginning. The rate of each key is given as `rate_at` returns it. Beside many dead
-- rows, `uppers` and `since` are the ranges of the walk, and `in_flight` says from when on claims are counted (see
-- `keep_turn_marks`); else they are null.
-- Locks: none. The caller holds the lock of the queue.
-- Called by: claim_in_turns.
-- Granted to: nobody.
create function horsies.keys_with_room(
    queue_name text, at_priority int, after_key text, after_time timestamptz, most int, most_room int,
    clock timestamptz, per_key int, token_us bigint, burst int, produced numeric, full_from numeric,
    has_holds boolean, uppers text[], since timestamptz[], in_flight jsonb
) returns table (key text, room int, free_at timestamptz, first_due timestamptz)
language plpgsql as $function$
declare
    counted_since constant timestamptz := coalesce((in_flight ->> 'since')::timestamptz, '-infinity');
    -- Tasks without a key are always counted completely: `backfill_turns` adds claims of any time to those that count.
    busy_keys constant text[] := array[''] || array(select jsonb_array_elements_text(in_flight -> 'keys'));
    busy_since constant timestamptz[] :=
        array['-infinity'] || array(select jsonb_array_elements_text(in_flight -> 'times'));
    keys text[];
    due_times timestamptz[];
begin
    if uppers is null then
        with recursive walked as (
            (select t.turn_key, t.run_at, 1 as place from horsies.tasks t
             where t.queue = queue_name and t.priority = at_priority and t.status = 'PENDING' and not t.held
               and t.turn_key is not null and (t.turn_key, t.run_at) > (after_key, after_time)
             order by t.turn_key, t.run_at limit 1)
            union all
            select following.turn_key, following.run_at, w.place + 1
            from walked w cross join lateral (
                select t.turn_key, t.run_at from horsies.tasks t
                where t.queue = queue_name and t.priority = at_priority and t.status = 'PENDING' and not t.held
                  and t.turn_key is not null and t.turn_key > w.turn_key
                order by t.turn_key, t.run_at limit 1
            ) as following
            where w.place < most
        )
        select array_agg(w.turn_key order by w.place), array_agg(w.run_at order by w.place) into keys, due_times
        from walked w;
    else
        select array_agg(w.key order by w.place), array_agg(w.first_due order by w.place) into keys, due_times
        from horsies.walk_keys(queue_name, at_priority, after_key, after_time, most, uppers, since)
            with ordinality as w (key, first_due, place);
    end if;
    return query
    select w.turn_key,
           case when held.until is not null then 0
                else least(most_room, per_key - claimed.number,
                           horsies.tokens_left(bucket.used_to, produced, full_from)) end,
           coalesce(held.until, case when horsies.tokens_left(bucket.used_to, produced, full_from) = 0
                                     then horsies.tokens_due(
                                         bucket.used_to, produced, full_from, token_us, burst, clock) end),
           w.run_at
    from unnest(keys, due_times) with ordinality as w (turn_key, run_at, place)
    left join lateral (
        select max(h.until) as until from horsies.holds h
        where has_holds and h.queue = queue_name and h.scope = 'key' and h.key = w.turn_key and h.until > clock
    ) as held on true
    left join lateral (
        select count(*)::int as number from horsies.tasks t
        where per_key is not null and t.queue = queue_name and coalesce(t.task_key, '') = w.turn_key
          and t.status <> 'PENDING' and (t.task_key is not null or t.turn_key is not null)
          and t.claimed_at >= coalesce((select min(b.since) from unnest(busy_keys, busy_since) as b (key, since)
                                        where b.key = w.turn_key), counted_since)
    ) as claimed on true
    left join lateral (
        select b.used_to from horsies.buckets b
        where token_us is not null and b.queue = queue_name and b.scope = 'key' and b.key = w.turn_key
    ) as bucket on true
    order by w.place;
end
$function$;
