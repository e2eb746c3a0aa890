-- Purpose: Insert a run from its document and enqueue the nodes that have no dependencies. The document is one JSON
-- object, which is expanded once; the index of a node is its position in `nodes`. A child run without a trace context
-- gets that of its parent. Returns false if the id exists.
-- Planner settings: see docs/architecture.md.
-- Locks: the new run.
-- Called by: workflow_attach, workflow_start.
-- Granted to: nobody.
create function horsies.workflow_insert(
    new_id uuid, root uuid, parent uuid, parent_node int, initial_status text, document json, new_fingerprint bytea
) returns boolean
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $function$
declare
    run record;
    roots int[];
begin
    select described.* into run
    from json_to_record(document) as described (
        name text, definition_key text, on_error text, output int, cases json, optional int[], nodes json,
        trace_context jsonb
    );
    insert into horsies.workflows
        (id, root_id, parent_id, parent_index, name, definition_key, status, on_error, output_index, cases, optional,
         total, fingerprint, started_at, trace_context)
    values (new_id, root, parent, parent_node, run.name, run.definition_key, initial_status, run.on_error, run.output,
            run.cases, run.optional, json_array_length(run.nodes), new_fingerprint, horsies.now(),
            coalesce(run.trace_context, (select w.trace_context from horsies.workflows w where w.id = parent)))
    on conflict (id) do nothing;
    if not found then
        return false;
    end if;
    with given as materialized (
        select n.*, (n.place - 1)::int as index
        from rows from (json_to_recordset(run.nodes) as (
            node_id text, kind text, task_name text, queue text, priority smallint, args json, args_from json,
            ctx_from int[], wants_meta boolean, waits_for int[], "join" text, min_success int,
            allow_failed_deps boolean, good_until timestamptz, timeout_ms int, retry_policy json, "over" int,
            item_parameter text, max_parallel int, wants_ctx boolean, task_key text, key_by json, secret_paths jsonb,
            secret_args json
        )) with ordinality as n (
            node_id, kind, task_name, queue, priority, args, args_from, ctx_from, wants_meta, waits_for, rule,
            min_success, allow_failed_deps, good_until, timeout_ms, retry_policy, over_index, item_parameter,
            max_parallel, wants_ctx, task_key, key_by, secret_paths, secret_args, place)
    ),
    edges as (
        insert into horsies.workflow_edges (workflow_id, source, target, place)
        select new_id, dependency.index, given.index, (dependency.place - 1)::int
        from given cross join unnest(given.waits_for) with ordinality as dependency (index, place)
    ),
    nodes as (
        insert into horsies.workflow_nodes
            (workflow_id, index, node_id, kind, task_name, queue, priority, args, args_from, ctx_from, wants_meta,
             waits_for, needed, allow_failed_deps, good_until, timeout_ms, retry_policy, over_index, item_parameter,
             max_parallel, task_key, key_by, secret_paths, secret_args, status, open_deps)
        select new_id, index, node_id, kind, task_name, queue, priority, args, args_from, ctx_from,
               wants_meta or wants_ctx, waits_for, case rule when 'any' then 1 when 'quorum' then min_success end,
               allow_failed_deps, good_until, timeout_ms, retry_policy, over_index, item_parameter, max_parallel,
               task_key, key_by, secret_paths, secret_args,
               case when cardinality(waits_for) = 0 then 'READY' else 'PENDING' end,
               cardinality(waits_for)
        from given returning index, status
    )
    select array_agg(nodes.index) into roots from nodes where nodes.status = 'READY';
    perform horsies.workflow_enqueue(array_fill(new_id, array[cardinality(roots)]), roots);
    return true;
end
$function$;
