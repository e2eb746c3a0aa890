-- Purpose: The records of actions that match, the latest first, before the record `before` (null: from the latest).
-- Each condition that is null matches all records. `subject` is an id or a name that was acted on.
-- Planner settings: see docs/architecture.md.
-- Locks: none.
-- Called by: queries/audit.py.
-- Granted to: operator.
create function horsies.list_audit(
    wanted_who text, wanted_actions text[], subject text, since timestamptz, until timestamptz, before uuid, most int
) returns table (
    id uuid, acted_at timestamptz, who text, database_user text, action text, subjects text[], details json
)
security definer set search_path = pg_catalog, pg_temp
language sql stable
set jit = off
as $function$
    select a.id, a.acted_at, a.who, a.database_user, a.action, a.subjects, a.details
    from horsies.audit a
    where (before is null or a.id < before)
      and (wanted_who is null or a.who = wanted_who or a.database_user = wanted_who)
      and (wanted_actions is null or a.action = any (wanted_actions))
      and (list_audit.subject is null or list_audit.subject = any (a.subjects))
      and (since is null or a.acted_at >= since)
      and (until is null or a.acted_at < until)
    order by a.id desc limit most
$function$;
