-- Purpose: End those of the running `candidates` that have no open node left. Returns the nodes of parent runs that
-- end with them; these are ended nodes of the next wave of `workflow_advance`, so one call settles one level, and
-- the fixpoint loop climbs to the root run.
--
--   root run     [a] --> [child run C] --> [b]
--                           ^     next wave: the ended node advances its dependents
--                           |     workflow_end_nodes: C's status and output become the node's result
--   child run C  [x] --> [y]      settled: completed + failed + skipped = total
--
-- A run completes if no node failed or, if it has success cases, if all nodes of any one case completed. Its error
-- is the error of the first failure or, with success cases, the error of the failed required node with the lowest
-- index.
--
-- Locks: none. The caller holds the root runs, under which alone nodes change.
-- Called by: workflow_advance, workflow_resume.
-- Granted to: nobody.
create function horsies.workflow_settle(candidates uuid[]) returns table (run uuid, index int)
language plpgsql as $function$
#variable_conflict use_column
declare
    settled uuid[];
begin
    with decided as (
        select w.id, case when w.cases is null then w.failed = 0 else exists (
            select from json_array_elements(w.cases) as one (needs) where not exists (
                select from json_array_elements_text(one.needs) as need (index)
                join horsies.workflow_nodes n on n.workflow_id = w.id and n.index = need.index::int
                where n.status <> 'COMPLETED')) end as is_successful
        from horsies.workflows w
        where w.id = any (candidates) and w.status = 'RUNNING' and w.completed + w.failed + w.skipped = w.total
    ),
    ended as (
        update horsies.workflows w
        set status = case when decided.is_successful then 'COMPLETED' else 'FAILED' end, finished_at = horsies.now(),
            error = case when not decided.is_successful then coalesce((
                select n.result from horsies.workflow_nodes n
                where n.workflow_id = w.id and n.status = 'FAILED'
                  and n.index = case when w.cases is null then w.failed_index else (
                          select min(f.index) from json_array_elements(w.cases) as one (needs)
                          cross join json_array_elements_text(one.needs) as need (index)
                          join horsies.workflow_nodes f on f.workflow_id = w.id and f.index = need.index::int
                          where f.status = 'FAILED') end),
                horsies.task_error('WORKFLOW_SUCCESS_CASE_NOT_MET', 'no case of the success policy was met')) end
        from decided where w.id = decided.id returning w.id
    )
    select array_agg(ended.id) into settled from ended;
    if settled is not null then
        perform horsies.announce_ids('done', settled);
        return query select * from horsies.workflow_end_nodes(settled);
    end if;
end
$function$;
