-- Purpose: Register a worker. From then on it may claim tasks and must send heartbeats. `queue_caps` has one element
-- for each of its queues; null means no limit. Workers call this first, and again after they were declared dead.
-- The rows by which claims lock these limits are created here, so that a claim need not insert them.
-- Locks: the worker's new rows; new rows of `locks`.
-- Called by: queries/worker.py.
-- Granted to: worker.
create function horsies.worker_start(
    new_id uuid, host text, supervisor_pid int, name text, host_boot_id text, host_pid_namespace text,
    host_process_start text, version text, process_count int, tasks_per_process int, queue_names text[],
    queue_caps int[], cap_of_cluster int, known_names text[], stale_after_seconds double precision
) returns void
security definer set search_path = pg_catalog, pg_temp
language sql as $function$
    insert into horsies.locks (name)
    select 'queue ' || d.name from unnest(queue_names, queue_caps) as d (name, cap) where d.cap is not null
    order by d.name
    on conflict do nothing;
    insert into horsies.workers
        (id, hostname, pid, process_name, boot_id, pid_namespace, process_start, library_version, processes,
         concurrency, queues, caps, cluster_cap, task_names, stale_after, started_at, heartbeat_at)
    values (new_id, host, supervisor_pid, name, host_boot_id, host_pid_namespace, host_process_start, version,
            process_count, tasks_per_process, queue_names, queue_caps, cap_of_cluster, known_names,
            make_interval(secs => stale_after_seconds), horsies.server_time(), horsies.server_time());
    insert into horsies.worker_versions (worker_id, library_version, seen_at, first_seen)
    values (new_id, version, horsies.server_time(), horsies.server_time())
    on conflict (worker_id) do update set library_version = excluded.library_version, seen_at = excluded.seen_at
$function$;
