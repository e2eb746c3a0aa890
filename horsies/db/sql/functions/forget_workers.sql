-- Purpose: forget dead workers after the retention. Returns how many.
-- Locks: rows that are deleted. Called by: duties of any worker.
create function horsies.forget_workers(keep_hours double precision) returns int
language plpgsql as $function$
declare
    forgotten int;
begin
    delete from horsies.dead_workers d where d.died_at < horsies.now() - make_interval(secs => keep_hours * 3600);
    get diagnostics forgotten = row_count;
    return forgotten;
end
$function$;
