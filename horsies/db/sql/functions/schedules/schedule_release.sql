-- Purpose: Release all leases of a scheduler, so that another one can lead its schedules at once. Returns how many
-- were released.
-- Locks: the rows of the leases.
-- Called by: queries/schedules.py.
-- Granted to: worker.
create function horsies.schedule_release(old_holder uuid) returns int
security definer set search_path = pg_catalog, pg_temp
language sql as $function$
    with released as (delete from horsies.schedule_leases l where l.holder = old_holder returning l.name)
    select count(*)::int from released
$function$;
