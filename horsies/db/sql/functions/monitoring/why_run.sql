-- Purpose: Explain what a run is waiting for, as `why` does for tasks: its first nodes that are in flight, with the
-- ids of their tasks or child runs, which the user can ask about in turn. No row means that there is no such run.
-- Planner settings: see docs/architecture.md.
-- Locks: none.
-- Called by: why.
create function horsies.why_run(wanted uuid) returns table (reason text, sentence text)
language sql stable set enable_seqscan = off as $function$
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
        select string_agg('node ' || n.node_id || coalesce(' (' || coalesce(n.child_id, n.task_id) || ')', ''), ', '
                          order by n.index)
        from (select o.* from horsies.workflow_nodes o
              where o.workflow_id = w.id and o.status in ('READY', 'ENQUEUED') order by o.index limit 5) as n
    ) as under_way (nodes) on true
    where w.id = wanted
$function$;
