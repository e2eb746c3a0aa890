-- Purpose: Return the ranges of keys (see `keep_turn_marks`) after a walk that began after the position (`after_key`,
-- `after_time`) and has found tasks of the keys `walked`, in their order, of which the first ones are due at
-- `due_times`. With `reaches_end`, it has passed the last key. Each key that was found ends a range, which begins
-- after the one before: nothing is waiting in it that is due before the first task of that key. The time of a range is
-- at most `latest`, so that inserts which commit a little later are seen.
-- Locks: none.
-- Called by: claim_in_turns.
-- Granted to: nobody.
create function horsies.merge_turn_marks(
    uppers text[], since timestamptz[], after_key text, after_time timestamptz, walked text[],
    due_times timestamptz[], reaches_end boolean, latest timestamptz,
    out merged_uppers text[], out merged_since timestamptz[]
)
language plpgsql as $function$
declare
    is_first constant boolean := after_time = '-infinity';      -- the walk began before the first key
    last_key constant text := walked[cardinality(walked)];
begin
    with kept as (
        select k.upper, k.since, k.place from unnest(uppers, since) with ordinality as k (upper, since, place)
    ),
    merged as (
        select 1 as part, k.place, k.upper, k.since from kept as k where not is_first and k.upper <= after_key
        union all
        (select 2, k.place, after_key, k.since from kept as k       -- the range in which the walk began is divided
         where not is_first and (k.upper >= after_key or k.upper is null)
         order by k.place limit 1)
        union all
        select 3, w.place, w.key, least(w.due, latest)
        from unnest(walked, due_times) with ordinality as w (key, due, place)
        union all
        select 4, 1, null, latest where reaches_end
        union all
        select 4, k.place, k.upper, k.since from kept as k
        where not reaches_end and (k.upper > last_key or k.upper is null)
    )
    select array_agg(m.upper order by m.part, m.place), array_agg(m.since order by m.part, m.place)
    into merged_uppers, merged_since
    from merged as m
    where m.part <> 2 or not exists (select from kept as k where k.upper = after_key);
end
$function$;
