-- Purpose: forget dead workers after the retention. Returns how many.
-- Locks: rows that are deleted. Called by: duties of any worker.
create function horsies.forget_workers(keep_hours double precision) returns int
language sql as $function$
    with forgotten as (
        delete from horsies.dead_workers d where d.died_at < horsies.now() - make_interval(secs => keep_hours * 3600)
        returning d.id
    )
    select count(*)::int from forgotten
$function$;
