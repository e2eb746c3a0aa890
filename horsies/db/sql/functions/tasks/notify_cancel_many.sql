-- Purpose: Send the notifications of `notify_cancel` for many tasks, after `cancel_many`.
-- Planner settings: see docs/architecture.md.
-- Locks: none.
-- Called by: queries/monitoring.py.
-- Granted to: operator.
create function horsies.notify_cancel_many(unwanted uuid[]) returns void
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set enable_seqscan = off
as $function$
begin
    perform horsies.notify_cancel(given.id) from unnest(unwanted) as given (id);
end
$function$;
