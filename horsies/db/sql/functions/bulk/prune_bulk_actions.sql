-- Purpose: Delete up to `most` actions on many tasks from before `first_kept`, except running ones. Returns how many
-- were deleted.
-- Locks: the rows that are deleted. Rows that are locked are left for a later call.
-- Called by: prune.
-- Granted to: nobody.
create function horsies.prune_bulk_actions(first_kept timestamptz, most int) returns int
language plpgsql volatile as $function$
declare
    deleted int;
begin
    delete from horsies.bulk_actions b
    where b.id = any (array(
        select old.id from horsies.bulk_actions old
        where old.created_at < first_kept and old.state <> 'RUNNING' limit most for update skip locked));
    get diagnostics deleted = row_count;
    return deleted;
end
$function$;
