-- Purpose: End tasks that did not report an outcome: cancelled or expired ones. Looks up the workers that held them
-- and moves the tasks to history. Returns the ids that were ended, null if there were none.
-- Planner settings: see docs/architecture.md.
-- Locks: none. The caller holds the root runs and the task rows.
-- Called by: cancel, cancel_many, expire, fail_unclaimable, insert_unique, postpone, workflow_cancel.
-- Granted to: nobody.
create function horsies.end_tasks(ids uuid[], end_status text, error json, code text, clock timestamptz)
returns uuid[]
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $function$
declare
    hostnames text[];
    pids int[];
    process_names text[];
    count_of_ids constant int[] := array[cardinality(ids)];
begin
    select array_agg(w.hostname order by given.place), array_agg(w.pid order by given.place),
           array_agg(w.process_name order by given.place)
    into hostnames, pids, process_names
    from unnest(ids) with ordinality as given (id, place)
    left join horsies.tasks t on t.id = any (array[given.id])
    left join horsies.workers w on w.id = any (array[t.worker_id]);
    return horsies.move_to_history(
        ids, array_fill(false, count_of_ids), end_status, array_fill(error::text, count_of_ids),
        array_fill(code, count_of_ids), hostnames, pids, process_names, clock, null, null, null);
end
$function$;
