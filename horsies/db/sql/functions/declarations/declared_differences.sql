-- Purpose: List the declarations of live workers that differ from the current ones, which `send` uses: the version
-- that was registered last, the version of the workers and their number, and what differs.
-- Locks: none.
-- Called by: queries/declarations.py.
-- Granted to: worker, viewer, operator.
create function horsies.declared_differences()
returns table (task_name text, current_version text, live_version text, workers int, differing text[])
security definer set search_path = pg_catalog, pg_temp
language sql stable as $function$
    with live as (
        select d.digest, w.app_version as version, count(*)::int as workers
        from horsies.workers w
        cross join unnest(w.declared) as had (digest)
        join horsies.declarations d on d.digest = had.digest and not d.is_current
        group by d.digest, w.app_version
    )
    select theirs.task_name, ours.app_version, live.version, live.workers, array_remove(array[
        case when theirs.parameters::text <> ours.parameters::text
                  or theirs.parameter_names <> ours.parameter_names then 'parameters' end,
        case when theirs.defaults::text <> ours.defaults::text then 'defaults' end,
        case when theirs.queue <> ours.queue then 'queue' end,
        case when theirs.priority <> ours.priority then 'priority' end,
        case when theirs.retry_policy::text is distinct from ours.retry_policy::text then 'retry policy' end,
        case when theirs.timeout_ms is distinct from ours.timeout_ms then 'time-out' end,
        case when theirs.uniqueness::text is distinct from ours.uniqueness::text then 'uniqueness' end,
        case when theirs.key_by::text is distinct from ours.key_by::text then 'key' end,
        case when theirs.secret_paths is distinct from ours.secret_paths then 'secrets' end
    ], null)
    from live
    join horsies.declarations theirs on theirs.digest = live.digest
    join horsies.declarations ours on ours.task_name = theirs.task_name and ours.is_current
    order by theirs.task_name, live.version
$function$;
