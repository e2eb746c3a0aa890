-- Purpose: List the versions of the app that appeared at `since` or later, at most the latest `most`: the first worker
-- of such a version was started then. Versions of workers that stopped more than a week ago are forgotten.
-- Planner settings: see docs/architecture.md.
-- Locks: none.
-- Called by: queries/monitoring.py.
-- Granted to: viewer, operator.
create function horsies.new_versions(since timestamptz, most int) returns table (
    app_version text, appeared_at timestamptz
)
security definer set search_path = pg_catalog, pg_temp
language sql stable
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $function$
    select v.app_version, min(v.first_seen)
    from horsies.worker_versions v
    where v.first_seen >= since and v.app_version <> ''
      and not exists (select from horsies.worker_versions earlier
                      where earlier.app_version = v.app_version and earlier.first_seen < since)
    group by v.app_version
    order by min(v.first_seen) desc, v.app_version limit most
$function$;
