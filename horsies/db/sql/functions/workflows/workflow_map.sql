-- Purpose: Perform the next step of a map node: create an item for each element of the source list, or collect the
-- results of the items. Returns 'done' or 'lost' (the task no longer belongs to this attempt). Each step is a
-- separate transaction, because it may take long. The step runs for an ordinary task, so that it is retried if its
-- worker dies.
-- Planner settings: see docs/architecture.md.
-- Locks: the root run.
-- Called by: queries/workflows.py.
-- Granted to: worker.
create function horsies.workflow_map(mapping_task uuid, running_attempt int) returns text
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $function$
declare
    node horsies.workflow_nodes; source horsies.workflow_nodes;
    failure json; collected json;
    complete json;                                  -- the result of the source, with its secrets
    complete_result json;                           -- what is stored as the result, with its secrets
begin
    perform horsies.durable();
    perform horsies.need_read_committed();
    perform horsies.lock_roots(array[mapping_task]);
    select n.* into node
    from horsies.tasks t join horsies.workflow_nodes n on n.workflow_id = t.workflow_id and n.index = t.node_index
    where t.id = mapping_task and t.attempt = running_attempt and t.started_at is not null
      and n.task_id = mapping_task and n.status = 'ENQUEUED' and coalesce(n.open_items, 0) = 0;
    if not found then
        return 'lost';
    end if;
    select s.* into source from horsies.workflow_nodes s
    where s.workflow_id = node.workflow_id and s.index = node.over_index;
    complete := coalesce(source.secret_result, source.result);
    if node.open_items = 0 then
        select ('[' || string_agg(case when i.is_ok then '{"ok":' else '{"err":' end || i.result || '}', ','
                                  order by i.item) || ']')::json,
               case when count(i.secret_result) > 0 then
                   ('[' || string_agg(case when i.is_ok then '{"ok":' else '{"err":' end
                                      || coalesce(i.secret_result, i.result) || '}', ',' order by i.item)
                    || ']')::json end
        into collected, complete_result
        from horsies.workflow_items i where i.workflow_id = node.workflow_id and i.index = node.index;
        delete from horsies.workflow_items i where i.workflow_id = node.workflow_id and i.index = node.index;
    elsif source.status <> 'COMPLETED' then
        failure := coalesce(source.result, horsies.task_error('WORKFLOW_ENQUEUE_FAILED',
            format('the map needs the result of node %s, which has not ended', source.node_id)));
        complete_result := source.secret_result;
    elsif json_typeof(complete) <> 'array' then
        failure := horsies.task_error('WORKFLOW_ENQUEUE_FAILED',
            format('the map needs a list from node %s, but its result is not a list', source.node_id));
    elsif json_array_length(complete) = 0 then
        collected := '[]';
    else
        insert into horsies.workflow_items (workflow_id, index, item, value, secret_value)
        select node.workflow_id, node.index, (element.place - 1)::int, element.value,
               nullif(element.secret::text, element.value::text)::json
        from (
            select given.place, case when source.secret_result is null then given.value
                                     else coalesce(shown.value, '"[redacted]"') end as value,
                   case when source.secret_result is not null then given.value end as secret
            from json_array_elements(complete) with ordinality as given (value, place)
            left join json_array_elements(
                case when source.secret_result is not null and json_typeof(source.result) = 'array'
                     then source.result else '[]' end) with ordinality as shown (value, place)
                on shown.place = given.place
        ) as element;
        update horsies.workflow_nodes n
        set items = json_array_length(complete), open_items = json_array_length(complete),
            started_at = horsies.now()
        where n.workflow_id = node.workflow_id and n.index = node.index;
        perform horsies.workflow_send_items(array[node.workflow_id], array[node.index]);
        return 'done';
    end if;
    update horsies.workflow_nodes n
    set status = case when failure is null then 'COMPLETED' else 'FAILED' end, result = coalesce(failure, collected),
        secret_result = complete_result,
        error_code = case when failure is not null then coalesce(source.error_code, 'WORKFLOW_ENQUEUE_FAILED') end,
        finished_at = horsies.now()
    where n.workflow_id = node.workflow_id and n.index = node.index;
    perform horsies.workflow_advance(array[node.workflow_id], array[node.index]);
    return 'done';
end
$function$;
