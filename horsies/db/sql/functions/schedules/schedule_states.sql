-- Purpose: List all schedules with the current time. Without schedules, there is one row with only the time.
-- Locks: none.
-- Called by: queries/schedules.py.
-- Granted to: worker, viewer, operator.
create function horsies.schedule_states() returns table (
    clock timestamptz, name text, config_hash text, fingerprint bytea, pattern text, timezone text, task_name text,
    queue text, next_run_at timestamptz, last_run_at timestamptz, last_task_id uuid, run_count bigint, paused boolean,
    resumed_at timestamptz
)
security definer set search_path = pg_catalog, pg_temp
language sql as $function$
    select horsies.now(), s.name, s.config_hash, s.fingerprint, s.pattern, s.timezone, s.task_name, s.queue,
           s.next_run_at, s.last_run_at, s.last_task_id, s.run_count, s.paused, s.resumed_at
    from (select) as always left join horsies.schedules s on true
    order by s.name
$function$;
