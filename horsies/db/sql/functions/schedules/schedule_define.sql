-- Purpose: Register a schedule or update its definition. Only a changed `config_hash` changes the next run, to
-- `first_due`; null means that the schedule is not enabled. If the task has secret arguments, the arguments that are
-- compared are stored as secrets, too.
-- Locks: the schedule's row.
-- Called by: queries/schedules.py.
-- Granted to: worker.
create function horsies.schedule_define(
    schedule_name text, hash text, words text, zone text, name_of_task text, queue_name text, task_priority int,
    arguments json, retries json, timeout int, request_fingerprint bytea, first_due timestamptz, unique_args json,
    unique_until text, unique_on_conflict text, unique_max_wait double precision, new_key text default null,
    secret_arguments json default null
) returns void
security definer set search_path = pg_catalog, pg_temp
language sql as $function$
    insert into horsies.schedules as s
        (name, config_hash, pattern, timezone, task_name, queue, priority, args, retry_policy, timeout_ms, fingerprint,
         next_run_at, unique_args, secret_unique_args, unique_until, unique_on_conflict, unique_max_wait, task_key,
         secret_args)
    values (schedule_name, hash, words, zone, name_of_task, queue_name, task_priority, arguments, retries, timeout,
            request_fingerprint, first_due,
            case when secret_arguments is null then schedule_define.unique_args end,
            case when secret_arguments is not null then schedule_define.unique_args end,
            schedule_define.unique_until, schedule_define.unique_on_conflict, schedule_define.unique_max_wait, new_key,
            secret_arguments)
    on conflict (name) do update set
        config_hash = excluded.config_hash, pattern = excluded.pattern, timezone = excluded.timezone,
        task_name = excluded.task_name, queue = excluded.queue, priority = excluded.priority, args = excluded.args,
        retry_policy = excluded.retry_policy, timeout_ms = excluded.timeout_ms, fingerprint = excluded.fingerprint,
        secret_args = excluded.secret_args, task_key = excluded.task_key,
        unique_args = excluded.unique_args, secret_unique_args = excluded.secret_unique_args,
        unique_until = excluded.unique_until,
        unique_on_conflict = excluded.unique_on_conflict, unique_max_wait = excluded.unique_max_wait,
        next_run_at = case when s.config_hash = excluded.config_hash then s.next_run_at else excluded.next_run_at end
$function$;
