-- Purpose: Return whether tasks of a queue wait, in the order of their due times or for their turns, scheduled ones
-- included. Rows before the marks of the session are not looked at (see `keep_claim_marks` and `keep_turn_marks`). The
-- answer is also true if nothing was found in the order of due times after very many blocks, because there is no mark
-- yet: the claim that follows keeps one.
--
-- A statement with a value, an order and a limit is answered by the index that begins with a queue. The planner may
-- answer an `exists` below an `or` by reading all rows that wait into a hash table.
-- Locks: none.
-- Called by: claim_regulated, notify_room.
-- Granted to: nobody.
create function horsies.has_waiting(queue_name text) returns boolean
language plpgsql as $function$
declare
    clock constant timestamptz := horsies.now();
    plain_marks constant jsonb := horsies.claim_marks(array[queue_name], 'horsies.claim_marks_' || md5(queue_name));
    marks constant jsonb := horsies.turn_marks(queue_name);
    part jsonb;
    head record;
    usual_blocks constant int := 200;
    blocks_before constant bigint := pg_stat_get_xact_blocks_fetched('{horsies}.tasks'::regclass);
begin
    if clock between (plain_marks ->> 'from')::timestamptz and (plain_marks ->> 'until')::timestamptz then
        perform from horsies.claim_head(array[queue_name], 0, plain_marks);
    else
        perform from horsies.tasks t
        where t.queue = queue_name and t.status = 'PENDING' and not t.held and t.turn_key is null
        order by t.priority limit 1;
    end if;
    if found or pg_stat_get_xact_blocks_fetched('{horsies}.tasks'::regclass) - blocks_before > usual_blocks then
        return true;
    end if;
    select h.* into head from horsies.turn_head(queue_name, 0, clock) as h;
    while head.is_marked loop
        part := marks -> head.priority::text;
        perform from horsies.walk_keys(
            queue_name, head.priority, '', '-infinity', 1, array(select jsonb_array_elements_text(part -> 'uppers')),
            array(select jsonb_array_elements_text(part -> 'since'))::timestamptz[]);
        if found then
            return true;
        end if;
        select h.* into head from horsies.turn_head(queue_name, head.priority, clock) as h;
    end loop;
    return head.priority is not null;
end
$function$;
