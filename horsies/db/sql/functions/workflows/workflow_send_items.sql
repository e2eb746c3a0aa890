-- Purpose: Send as many items of expanded maps as may run next to those in flight. If all items have ended, send the
-- task that collects the results. Items of a paused run are sent as held tasks. The key of an item is made of its
-- arguments without secrets, because everyone may see it.
-- Locks: none. The caller holds the root runs, under which alone nodes change.
-- Called by: workflow_map, workflow_note_items.
-- Granted to: nobody.
create function horsies.workflow_send_items(runs uuid[], indexes int[]) returns void
language plpgsql as $function$
declare
    clock constant timestamptz := horsies.now();
    map record;
    up_to int;
    passed text;                                    -- what is before the item in the arguments
begin
    for map in
        select n.*, w.root_id, w.status = 'PAUSED' as is_paused,
               case when w.trace_context is not null then
                   horsies.node_trace(w.trace_context, w.id, n.waits_for) end as trace_context
        from unnest(runs, indexes) as given (run, index)
        join horsies.workflow_nodes n on n.workflow_id = given.run and n.index = given.index
        join horsies.workflows w on w.id = given.run
        where n.status = 'ENQUEUED'
    loop
        passed := case map.args::text when '{}' then '' else ',' end || to_json(map.item_parameter) || ':';
        up_to := least(map.items, map.items - map.open_items + map.max_parallel);
        insert into horsies.tasks
            (id, task_name, queue, priority, args, held, run_at, good_until, retry_policy, timeout_ms, sent_at,
             fingerprint, workflow_id, node_index, root_id, item, task_key, turn_key, trace_context,
             secret_args)
        select horsies.node_task_id(clock, i.item, map.workflow_id || ':' || map.index), map.task_name, map.queue,
               map.priority, i.args, map.is_paused, clock, map.good_until, map.retry_policy, map.timeout_ms, clock, '',
               map.workflow_id, map.index, map.root_id, i.item, i.key,
               case when not map.is_paused then horsies.turn_key_in(map.queue, i.key) end, map.trace_context,
               i.secret_args
        from (
            select merged.item, merged.args, nullif(merged.complete::text, merged.args::text)::json as secret_args,
                case when map.key_by is null then map.task_key
                else nullif(left(horsies.key_of_arguments(
                    merged.args, map.key_by -> 'by', map.key_by -> 'defaults'), 200), '')
            end as key
            from (
                select filled.item, filled.complete, case when map.secret_paths is null then filled.shown
                           else horsies.redacted(filled.shown, map.secret_paths) end as args
                from (
                    select i.item, (left(map.args::text, -1) || passed || i.value || '}')::json as shown,
                           case when map.secret_paths is not null or map.secret_args is not null
                                     or i.secret_value is not null
                                then (left(coalesce(map.secret_args, map.args)::text, -1) || passed
                                      || coalesce(i.secret_value, i.value) || '}')::json end as complete
                    from horsies.workflow_items i
                    where i.workflow_id = map.workflow_id and i.index = map.index and i.item >= map.sent_items
                      and i.item < up_to
                ) as filled
            ) as merged
        ) as i;
        update horsies.workflow_nodes n
        set sent_items = greatest(up_to, n.sent_items),
            status = case n.open_items when 0 then 'READY' else n.status end
        where n.workflow_id = map.workflow_id and n.index = map.index;
        perform horsies.announce_wake();
    end loop;
    perform horsies.workflow_enqueue(runs, indexes);
end
$function$;
