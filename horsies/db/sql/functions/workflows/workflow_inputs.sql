-- Purpose: Return what the task of a node gets from its run besides its own arguments: the results of its
-- dependencies, as far as these have ended, and its identity. Null if the node needs none of this. A skipped
-- dependency is represented by an error with its index. `kind` and `task_name` of an entry of `ctx` say how to
-- decode its result; if the node is a run, they are those of the run's output node. If the stored results are larger
-- than `most` bytes, only `workflow_id` and `index` are returned, and the child calls again without a limit.
--
-- A result with secrets is complete, and `public` is the one that everyone may see.
-- Planner settings: see docs/architecture.md.
-- Locks: none.
-- Called by: take; queries/workflows.py.
-- Granted to: worker.
create function horsies.workflow_inputs(run uuid, node_index int, most int) returns json
security definer set search_path = pg_catalog, pg_temp
language plpgsql stable set enable_seqscan = off set enable_bitmapscan = off as $function$
declare
    node horsies.workflow_nodes;
    wanted int[];
begin
    select n.* into node from horsies.workflow_nodes n where n.workflow_id = run and n.index = node_index;
    if not node.wants_meta and node.ctx_from is null and node.args_from::text = '{}' then
        return null;
    end if;
    wanted := array(select arg.value::int from json_each_text(node.args_from) as arg) || node.ctx_from;
    if most < (select sum(pg_column_size(s.result) + coalesce(pg_column_size(s.secret_result), 0))
               from horsies.workflow_nodes s where s.workflow_id = run and s.index = any (wanted)) then
        return json_build_object('workflow_id', run, 'index', node_index);
    end if;
    return (
        with source as (
            select s.index, s.node_id, coalesce(s.result_kind, s.kind) as kind,
                   coalesce(s.result_task, s.task_name) as task_name, s.status,
                   coalesce(s.secret_summary, s.summary) as summary,
                   case when s.secret_result is not null then s.result end as public,
                   case s.status when 'SKIPPED' then horsies.task_error(
                       'UPSTREAM_SKIPPED', 'node ' || s.node_id || ' was skipped',
                       json_build_object('dependency_index', s.index))
                   else coalesce(s.secret_result, s.result) end as result
            from horsies.workflow_nodes s where s.workflow_id = run and s.index = any (wanted)
        )
        select json_build_object(
            'workflow_id', run, 'index', node_index, 'node_id', node.node_id, 'task_name', node.task_name,
            'args_from', (
                select coalesce(json_object_agg(arg.key, case
                           when s.public is null then json_build_object('status', s.status, 'result', s.result)
                           else json_build_object('status', s.status, 'result', s.result, 'public', s.public)
                       end), '{}')
                from json_each_text(node.args_from) as arg join source s on s.index = arg.value::int
                where s.result is not null),
            'ctx', case when node.ctx_from is not null then (
                select json_agg(row_to_json(s)) from source s where s.index = any (node.ctx_from)) end));
end
$function$;
