-- Purpose: Find the history row of a task that ended between two times, in seconds since 1970 (null: no limit). The
-- times are written into the statement as literals, so that it is planned for, and locks, only the partitions between
-- them. If they do not have the row, the subtransaction is rolled back, which releases the locks. Returns null, then.
-- Locks: none.
-- Called by: find_ended.
-- Granted to: nobody.
create function horsies.find_ended_between(wanted uuid, since bigint, until bigint) returns horsies.history
language plpgsql as $function$
declare
    ended horsies.history;
begin
    execute format(
        'select * from {horsies}.history h where h.id = $1 and h.finished_at >= %s and h.finished_at < %s',
        coalesce('to_timestamp(' || since || ')', '''-infinity'''),
        coalesce('to_timestamp(' || until || ')', '''infinity''')) into ended using wanted;
    if ended.id is null then
        raise exception using errcode = 'P0H01';
    end if;
    return ended;
exception when sqlstate 'P0H01' then
    return null;
end
$function$;
