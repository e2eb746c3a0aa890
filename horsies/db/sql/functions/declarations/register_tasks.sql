-- Purpose: Register what an app declares about its tasks, for `send`. The arrays have one element for each task;
-- `names_of_parameters` and `names_of_required` contain JSON arrays of names. These declarations replace earlier ones
-- of the same names. Declarations of earlier versions are kept while a live worker has them, for `doctor`.
-- `declaring_worker` is null if no worker registers them.
-- Locks: the row 'declarations' of `locks`, so that only one app registers at a time; the worker's rows.
-- Called by: queries/declarations.py.
-- Granted to: worker.
create function horsies.register_tasks(
    declaring_worker uuid, version text, digests text[], names text[], queue_names text[], priorities int[],
    retries text[], timeouts int[], schemas text[], names_of_parameters text[], names_of_required text[],
    encoded_defaults text[], uniques text[], key_bys text[], secrets text[] default null
) returns void
security definer set search_path = pg_catalog, pg_temp
language plpgsql as $function$
declare
    clock constant timestamptz := horsies.now();
begin
    insert into horsies.locks (name) select 'declarations'
    where not exists (select from horsies.locks l where l.name = 'declarations')
    on conflict do nothing;
    perform from horsies.locks l where l.name = 'declarations' for update;
    update horsies.declarations d set is_current = false
    where d.is_current and d.task_name = any (names) and d.digest <> all (digests);
    insert into horsies.declarations
        (digest, task_name, is_current, app_version, registered_at, queue, priority, retry_policy, timeout_ms,
         parameters, parameter_names, required_names, defaults, uniqueness, key_by, secret_paths)
    select given.digest, given.name, true, version, clock, given.queue, given.priority, given.retry_policy::json,
           given.timeout_ms, given.parameters::json,
           array(select json_array_elements_text(given.parameter_names::json)),
           array(select json_array_elements_text(given.required_names::json)), given.defaults::json,
           given.uniqueness::json, given.key_by::json, given.secret_paths::jsonb
    from unnest(digests, names, queue_names, priorities, retries, timeouts, schemas, names_of_parameters,
                names_of_required, encoded_defaults, uniques, key_bys, secrets)
         as given (digest, name, queue, priority, retry_policy, timeout_ms, parameters, parameter_names,
                   required_names, defaults, uniqueness, key_by, secret_paths)
    on conflict (digest) do update
    set is_current = true, app_version = excluded.app_version, registered_at = excluded.registered_at;
    update horsies.workers w set app_version = version, declared = digests where w.id = declaring_worker;
    update horsies.worker_versions v set app_version = version where v.worker_id = declaring_worker;
    delete from horsies.declarations d
    where not d.is_current and not exists (select from horsies.workers w where d.digest = any (w.declared));
end
$function$;
