-- Purpose: Return the real time of the server, by which workers are judged: heartbeats, leases and staleness. Tests of
-- users move only `now`, so that a moved clock does not make living workers look dead.
-- Locks: none.
-- Called by: bulk_control, bulk_step, forget_workers, heartbeat, keep_worker_versions, list_bulk_actions,
-- queue_status, reap, reap_stale, renew, request_heartbeats, return_stale_to_queue, schedule_lead, stale_tasks, take,
-- waiting_reasons, why, worker_start, worker_stats.
-- Granted to: nobody.
create function horsies.server_time() returns timestamptz
language sql volatile as $function$
    select clock_timestamp()
$function$;
