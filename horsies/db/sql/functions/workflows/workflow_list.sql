-- Purpose: the latest runs, at most `most`; only those of one status if it is given, and no child runs.
-- Locks: none. Called by: CLI.
create function horsies.workflow_list(wanted_status text, most int) returns setof uuid
language sql stable set enable_seqscan = off as $function$
    select w.id from horsies.workflows w
    where w.parent_id is null and (wanted_status is null or w.status = wanted_status)
    order by w.started_at desc limit most
$function$;
