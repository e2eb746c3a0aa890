-- Purpose: Do the walk of `keys_with_room` over the next `most` keys with waiting tasks beside many dead rows, by the
-- ranges of keys that `keep_turn_marks` describes. Tasks that are due before the time of their range are not looked
-- at. Returns the keys in their order, with the due time of the first task of each.
--
-- The index `tasks_turns` answers all conditions. Entries that are due before the time of the range are stepped over
-- without reading their rows.
-- Locks: none.
-- Called by: has_waiting, keys_with_room.
-- Granted to: nobody.
create function horsies.walk_keys(
    queue_name text, at_priority int, after_key text, after_time timestamptz, most int, uppers text[],
    since timestamptz[]
) returns table (key text, first_due timestamptz)
language plpgsql as $function$
declare
    reached_key text := after_key;
    reached_time timestamptz := after_time;
    given record;
    number int := 0;
begin
    for given in
        select r.upper, r.since from unnest(uppers, since) with ordinality as r (upper, since, place)
        where after_time = '-infinity' or r.upper > after_key or r.upper is null order by r.place
    loop
        loop
            if given.upper is null then
                select t.turn_key, t.run_at into key, first_due from horsies.tasks t
                where t.queue = queue_name and t.priority = at_priority and t.status = 'PENDING' and not t.held
                  and t.turn_key is not null and (t.turn_key, t.run_at) > (reached_key, reached_time)
                  and t.run_at >= given.since
                order by t.turn_key, t.run_at limit 1;
            else
                select t.turn_key, t.run_at into key, first_due from horsies.tasks t
                where t.queue = queue_name and t.priority = at_priority and t.status = 'PENDING' and not t.held
                  and t.turn_key is not null and (t.turn_key, t.run_at) > (reached_key, reached_time)
                  and t.turn_key <= given.upper and t.run_at >= given.since
                order by t.turn_key, t.run_at limit 1;
            end if;
            exit when not found;
            number := number + 1;
            return next;
            if number >= most then
                return;
            end if;
            reached_key := key;
            reached_time := 'infinity';
        end loop;
        reached_key := given.upper;
        reached_time := 'infinity';
    end loop;
end
$function$;
