-- Purpose: Delete up to `most` records of actions from before `first_kept`. Returns how many were deleted.
-- Locks: the rows that are deleted.
-- Called by: prune.
-- Granted to: nobody.
create function horsies.prune_audit(first_kept timestamptz, most int) returns int
language plpgsql volatile as $function$
declare
    deleted int;
begin
    delete from horsies.audit a
    where a.id = any (array(select old.id from horsies.audit old where old.acted_at < first_kept limit most));
    get diagnostics deleted = row_count;
    return deleted;
end
$function$;
