-- Purpose: Return the trace context of the task of a node: that of its run, and the spans of up to 100 of the nodes
-- that it depends on (`sources`). Callers ask only if the run has a trace context. One that is no object, which only a
-- direct call can store, is returned as it is: it must not make the finish of a node fail.
-- Planner settings: see docs/architecture.md.
-- Locks: none.
-- Called by: workflow_enqueue, workflow_send_items.
-- Granted to: nobody.
create function horsies.node_trace(run_context jsonb, run uuid, sources int[]) returns jsonb
language plpgsql stable
set enable_seqscan = off set enable_bitmapscan = off
as $function$
declare
    max_links constant int := 100;
    links jsonb;
begin
    select jsonb_agg(s.trace_parent order by s.index) into links
    from (select n.index, n.trace_parent from horsies.workflow_nodes n
          where n.workflow_id = run and n.index = any (sources) and n.trace_parent is not null
          order by n.index limit max_links) as s;
    return case when links is null or jsonb_typeof(run_context) <> 'object' then run_context
                else run_context || jsonb_build_object('links', links) end;
end
$function$;
