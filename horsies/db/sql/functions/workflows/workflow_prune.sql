-- Purpose: Delete runs that ended before the retention period, with all runs below them, at most `most` root runs
-- per call. Returns how many runs were deleted.
-- Planner settings: see docs/architecture.md.
-- Locks: root runs in the order of their ids, SKIP LOCKED.
-- Called by: queries/workflows.py.
-- Granted to: worker.
create function horsies.workflow_prune(keep_hours double precision, most int) returns int
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $function$
declare
    oldest_kept constant timestamptz := horsies.now() - make_interval(secs => keep_hours * 3600);
    old uuid[] := array(
        select w.id from horsies.workflows w where w.finished_at < oldest_kept and w.parent_id is null
        order by w.id limit most for update skip locked);
begin
    old := array(select w.id from horsies.workflows w where w.root_id = any (old));
    delete from horsies.workflow_items i where i.workflow_id = any (old);
    delete from horsies.workflow_edges e where e.workflow_id = any (old);
    delete from horsies.workflow_nodes n where n.workflow_id = any (old);
    delete from horsies.workflows w where w.id = any (old);
    return cardinality(old);
end
$function$;
