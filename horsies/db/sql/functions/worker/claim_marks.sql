-- Purpose: Return the marks that this session has kept for claims from these queues, or null if it has kept none. A
-- mark says that a queue had no waiting row from a priority on, up to that of the next mark, that was due before a
-- certain time. See `keep_claim_marks`, which writes them to the setting of the session with this name. They may be
-- used from the time `from` to the time `until`.
-- Locks: none.
-- Called by: claim_in_order, has_waiting, marks_until, plain_heads.
-- Granted to: nobody.
create function horsies.claim_marks(queue_names text[], setting text)
returns jsonb
language plpgsql as $function$
declare
    kept constant text := current_setting(setting, true);
    marks jsonb;
begin
    if kept is null or kept = '' then
        return null;
    end if;
    marks := kept::jsonb;
    -- Behind a pooler, the marks of workers with other queues, or of another schema, may be found here.
    return case when marks ->> 'table' = '{horsies}.tasks'::regclass::oid::text
                     and marks -> 'queues' = to_jsonb(queue_names) then marks end;
end
$function$;
