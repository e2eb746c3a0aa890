-- Purpose: Explain what a run is waiting for, as `why` does for tasks: its first nodes that are in flight (at most
-- `most`), with the ids of their tasks or child runs, and for each the sentence that `why` has about it. No row means
-- that there is no such run. Of a run inside this one, only the first node is explained, so that the answer stays
-- short and costs little at any depth.
-- Planner settings: see docs/architecture.md.
-- Locks: none.
-- Called by: why.
-- Granted to: nobody.
create function horsies.why_run(wanted uuid, most int default 5) returns table (reason text, sentence text)
language plpgsql
set enable_seqscan = off set jit = off
as $function$
begin
    return query
    select case when w.finished_at is not null then 'ended'
                when w.status = 'PAUSED' then 'run_paused' else 'nodes' end,
           case when w.finished_at is not null then
               format('this run ended %s at %s', w.status,
                      to_char(w.finished_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"'))
           else
               format('this run %s %s; %s of its %s nodes have ended',
                      case w.status when 'PAUSED' then 'is paused and was at' else 'waits for' end,
                      coalesce(under_way.nodes, 'nothing'), w.completed + w.failed + w.skipped, w.total)
           end
    from horsies.workflows w
    left join lateral (
        select string_agg(
                   'node ' || n.node_id || coalesce(' (' || coalesce(n.child_id, n.task_id) || ')', '')
                   || coalesce(': ' || coalesce(run.sentence, task.sentence), ''), ', ' order by n.index)
        from (select o.* from horsies.workflow_nodes o
              where o.workflow_id = w.id and o.status in ('READY', 'ENQUEUED') order by o.index limit most) as n
        left join lateral horsies.why_run(n.child_id, 1) as run on n.child_id is not null
        left join lateral horsies.why(n.task_id) as task on n.child_id is null and n.task_id is not null
    ) as under_way (nodes) on true
    where w.id = wanted;
end
$function$;
