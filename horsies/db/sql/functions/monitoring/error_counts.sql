-- Purpose: Return the numbers of failed attempts of an error group by hour and by the versions of the library and of
-- the app, of the hours from `since` until before `until`, the earliest first, at most `most`.
-- Planner settings: see docs/architecture.md.
-- Locks: none.
-- Called by: queries/errors.py.
-- Granted to: viewer, operator.
create function horsies.error_counts(wanted bigint, since timestamptz, until timestamptz, most int)
returns table (hour timestamptz, library_version text, app_version text, number bigint)
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set enable_seqscan = off set jit = off set timezone = 'UTC'
as $function$
begin
    return query
    select c.started_at, c.library_version, c.app_version, c.number
    from horsies.error_counts c
    where c.group_id = wanted and c.period_s = 3600 and c.started_at >= date_trunc('hour', since)
      and c.started_at < until
    order by c.started_at, c.library_version, c.app_version limit most;
end
$function$;
