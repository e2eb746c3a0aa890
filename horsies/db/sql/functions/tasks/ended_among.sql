-- Purpose: Find which of these tasks and workflow runs have ended. This serves the slow poll that backs up the
-- notifications.
-- Planner settings: see docs/architecture.md.
-- Locks: none.
-- Called by: queries/tasks.py.
-- Granted to: producer, worker.
create function horsies.ended_among(ids uuid[]) returns setof uuid
security definer set search_path = pg_catalog, pg_temp
language sql stable
set enable_seqscan = off set enable_indexonlyscan = off
as $function$
    select given.id from unnest(ids) as given (id)
    where not exists (select from horsies.tasks t where t.id = any (array[given.id]))
      and not exists (select from horsies.workflows w where w.id = any (array[given.id]) and w.status = 'RUNNING')
$function$;
