-- Purpose: Delete the records of dead workers after the retention period. Returns how many were deleted.
-- Locks: the rows that are deleted.
-- Called by: queries/worker.py.
-- Granted to: worker.
create function horsies.forget_workers(keep_hours double precision) returns int
security definer set search_path = pg_catalog, pg_temp
language sql as $function$
    with forgotten as (
        delete from horsies.dead_workers d
        where d.died_at < horsies.server_time() - make_interval(secs => keep_hours * 3600)
        returning d.id
    )
    select count(*)::int from forgotten
$function$;
