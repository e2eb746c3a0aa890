-- Purpose: List the workers that were started on this host since its last boot and in the same process namespace.
-- The caller can check which of their processes are dead.
-- Locks: none.
-- Called by: queries/worker.py.
-- Granted to: worker.
create function horsies.local_workers(host_boot_id text, host_pid_namespace text)
returns table (id uuid, pid int, process_start text)
security definer set search_path = pg_catalog, pg_temp
language sql stable as $function$
    select w.id, w.pid, w.process_start from horsies.workers w
    where w.boot_id = host_boot_id and w.pid_namespace = host_pid_namespace
$function$;
