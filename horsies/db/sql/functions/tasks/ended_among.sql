-- Purpose: which of these tasks are no longer live, and of these runs no longer under way, for the slow poll behind the done
-- notices.
-- Locks: none. Called by: the listener of a process that waits.
create function horsies.ended_among(ids uuid[]) returns setof uuid
language sql stable
set enable_seqscan = off
as $function$
    select given.id from unnest(ids) as given (id)
    where not exists (select from horsies.tasks t where t.id = given.id)
      and not exists (select from horsies.workflows w where w.id = given.id and w.status = 'RUNNING')
$function$;
