-- Purpose: The actions on many tasks, the latest first, or the one with the id `wanted` (null: all), at most `most`.
-- `idle_s` is for how many seconds no batch was processed (null: it was not started). `sample` has the first tasks of
-- the preview, and is empty unless an id is given.
-- Planner settings: see docs/architecture.md.
-- Locks: none.
-- Called by: queries/bulk.py.
-- Granted to: viewer, operator.
create function horsies.list_bulk_actions(wanted uuid, most int) returns table (
    id uuid, action text, state text, filter text, statuses text[], total int, is_cut boolean, left_out int,
    processed int, changed int, created_at timestamptz, created_by text, acted_by text, started_at timestamptz,
    ended_at timestamptz, idle_s double precision, failure text, sample uuid[]
)
security definer set search_path = pg_catalog, pg_temp
language sql volatile
set jit = off
as $function$
    select b.id, b.action, b.state, b.filter, b.statuses, b.total, b.is_cut, b.left_out, b.processed, b.changed,
           b.created_at, b.created_by, b.acted_by, b.started_at, b.ended_at,
           extract(epoch from horsies.server_time() - b.worked_at)::double precision, b.failure,
           case when wanted is null then '{}'::uuid[] else b.task_ids[:20] end
    from horsies.bulk_actions b
    where wanted is null or b.id = wanted
    order by b.id desc limit most
$function$;
