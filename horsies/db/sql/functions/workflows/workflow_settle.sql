-- Purpose: end those of these runs that go on with no node left. A run completes if no node failed, or, with cases, if all
-- nodes of any case completed. Its error is that of the first failure, or, with cases, of the first required node that
-- failed, by index. Returns the nodes of parent runs that end with them.
-- Locks: none of its own; its caller holds the root runs. Called by: workflow_advance, workflow_resume.
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
        perform horsies.notify_done(settled);
        return query select * from horsies.workflow_end_nodes(settled);
    end if;
end
$function$;
