-- Purpose: Record on map items that their tasks have ended at this time, and count them. Then send the next items,
-- or the task that collects the results after the last item.
-- Locks: none. The caller holds the root runs, under which alone nodes change.
-- Called by: workflow_note.
-- Granted to: nobody.
create function horsies.workflow_note_items(
    run_ids uuid[], node_indexes int[], item_indexes int[], statuses text[], results json[], secrets json[]
) returns void
language plpgsql as $function$
declare
    runs uuid[]; indexes int[];
begin
    with noted as (
        update horsies.workflow_items i
        set is_ok = h.status = 'COMPLETED', result = h.result, secret_result = h.secret_result
        from unnest(run_ids, node_indexes, item_indexes, statuses, results, secrets)
            as h (workflow_id, node_index, item, status, result, secret_result)
        where h.item is not null and i.workflow_id = h.workflow_id
          and i.index = h.node_index and i.item = h.item and i.is_ok is null
        returning i.workflow_id, i.index
    ),
    counted as (
        update horsies.workflow_nodes n set open_items = n.open_items - done.count
        from (select noted.workflow_id, noted.index, count(*) from noted group by 1, 2) as done
        where n.workflow_id = done.workflow_id and n.index = done.index and n.status = 'ENQUEUED'
        returning n.workflow_id, n.index
    )
    select array_agg(counted.workflow_id), array_agg(counted.index) into runs, indexes from counted;
    perform horsies.workflow_send_items(runs, indexes);
end
$function$;
