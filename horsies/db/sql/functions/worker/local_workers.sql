-- Purpose: workers that were started on this host, since its last boot and where the caller sees the same processes:
-- it can tell which of them are dead.
-- Locks: none. Called by: workers, when they begin.
create function horsies.local_workers(host_boot_id text, host_pid_namespace text)
returns table (id uuid, pid int, process_start text)
language sql stable as $function$
    select w.id, w.pid, w.process_start from horsies.workers w
    where w.boot_id = host_boot_id and w.pid_namespace = host_pid_namespace
$function$;
