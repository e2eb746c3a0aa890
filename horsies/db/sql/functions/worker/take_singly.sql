-- Purpose: Do the same as `take`, with a subtransaction for each task: a row at which the server fails, with a data
-- exception or because it violates a constraint, does not stop the other tasks. Such a row ends as FAILED (see
-- `fail_unclaimable`).
-- Locks: those of `take`; for a row that fails, those of `fail_unclaimable`.
-- Called by: claim_from_queue, claim_in_order, take_keys.
-- Granted to: nobody.
create function horsies.take_singly(
    claiming_worker uuid, exchange bigint, candidates uuid[], most int, clock timestamptz,
    lease_seconds double precision, queue_names text[], rooms int[]
) returns table (
    id uuid, task_name text, args json, attempt int, timeout_ms int, queue text, capped boolean, root_id uuid,
    inputs json, trace_context json, due_in double precision
)
language plpgsql as $function$
declare
    candidate uuid;
    still_wanted int := most;
    taken_rows int;
begin
    foreach candidate in array candidates loop
        exit when still_wanted = 0;
        begin
            return query select * from horsies.take(
                claiming_worker, exchange, array[candidate], 1, clock, lease_seconds, queue_names, rooms);
            get diagnostics taken_rows = row_count;
            still_wanted := still_wanted - taken_rows;
        exception when data_exception or integrity_constraint_violation then
            perform horsies.fail_unclaimable(candidate, sqlerrm);
        end;
    end loop;
end
$function$;
