-- What the task of a node gets of its run, besides its own arguments: results of nodes that it waits for, as far as they
-- have ended, and who it is; null if it wants nothing of that. A skipped dependency is an error with its index.
-- `kind` and `task_name` of an entry of `ctx` say what reads its result: where the node is a run, that run's output node.
-- Where the results take more than `most` bytes as they are stored, only `workflow_id` and `index` are given: ask again
-- without a limit.
-- Locks: none. Called by: claim; children, for what was too large.
create function horsies.workflow_inputs(run uuid, node_index int, most int) returns json
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
    if most < (select sum(pg_column_size(s.result)) from horsies.workflow_nodes s
               where s.workflow_id = run and s.index = any (wanted)) then
        return json_build_object('workflow_id', run, 'index', node_index);
    end if;
    return (
        with source as (
            select s.index, s.node_id, coalesce(s.result_kind, s.kind) as kind,
                   coalesce(s.result_task, s.task_name) as task_name, s.status, s.summary,
                   case s.status when 'SKIPPED' then horsies.task_error(
                       'UPSTREAM_SKIPPED', 'node ' || s.node_id || ' was skipped',
                       json_build_object('dependency_index', s.index))
                   else s.result end as result
            from horsies.workflow_nodes s where s.workflow_id = run and s.index = any (wanted)
        )
        select json_build_object(
            'workflow_id', run, 'index', node_index, 'node_id', node.node_id, 'task_name', node.task_name,
            'args_from', (
                select coalesce(json_object_agg(arg.key, json_build_object('status', s.status, 'result', s.result)),
                                '{}')
                from json_each_text(node.args_from) as arg join source s on s.index = arg.value::int
                where s.result is not null),
            'ctx', case when node.ctx_from is not null then (
                select json_agg(row_to_json(s)) from source s where s.index = any (node.ctx_from)) end));
end
$function$;
