-- Purpose: Return the marks that this session has kept for the keys of a queue, or null if it has kept none. See
-- `keep_turn_marks`, which writes them.
-- Locks: none.
-- Called by: claim_in_turns, has_waiting, keep_turn_marks, marks_until, turn_head.
-- Granted to: nobody.
create function horsies.turn_marks(queue_name text) returns jsonb
language plpgsql as $function$
declare
    kept constant text := current_setting('horsies.turn_marks_' || md5(queue_name), true);
    marks jsonb;
begin
    if kept is null or kept = '' then
        return null;
    end if;
    marks := kept::jsonb;
    -- Behind a pooler, the marks of another schema may be found here.
    return case when marks ->> 'table' = '{horsies}.tasks'::regclass::oid::text and marks ->> 'queue' = queue_name
                then marks end;
end
$function$;
