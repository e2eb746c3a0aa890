-- Purpose: Process the next `most` tasks of an action on many tasks, and count them as processed in the same
-- transaction. So a batch is processed once, whichever processes work on the action and wherever one of them is
-- killed. Only tasks of the preview are changed. Those that have none of the statuses of the action any more, or that
-- were sent again since the preview, are skipped. The tasks that were changed are recorded in the name of the person
-- who started or resumed the action. Returns the state of the action after the batch, how many tasks were processed in
-- all, and the tasks that this batch has cancelled, about which the caller notifies; no row if there is no such
-- action.
--
--   PREVIEW -- start --> RUNNING -- last batch --> DONE
--                         |   ^
--                       stop  resume
--                         v   |
--                        STOPPED
--
-- While the action is not running, nothing changes.
-- Locks: the row of the action; then those of `cancel_many` or `rerun_many`.
-- Called by: queries/bulk.py.
-- Granted to: operator.
create function horsies.bulk_step(wanted uuid, most int default 1000)
returns table (state text, processed int, cancelled uuid[])
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set lock_timeout = '5s'
as $function$
#variable_conflict use_column
declare
    bulk horsies.bulk_actions;
    batch uuid[];
    details json;
    changed_count int := 0;
begin
    perform horsies.durable();
    perform horsies.need_read_committed();
    select b.* into bulk from horsies.bulk_actions b where b.id = wanted for update;
    if not found then
        return;
    end if;
    cancelled := '{}';
    if bulk.state = 'RUNNING' then
        batch := bulk.task_ids[bulk.processed + 1 : bulk.processed + most];
        details := json_build_object('bulk_action', wanted);
        if bulk.action = 'cancel' then
            cancelled := array(
                select c.id from horsies.cancel_many(batch, bulk.acted_by, bulk.statuses, details) as c (id));
            changed_count := cardinality(cancelled);
        else
            select count(*) into changed_count
            from horsies.rerun_many(
                batch, array_fill(0, array[cardinality(batch)]),
                array(select horsies.new_task_id(horsies.now()) from unnest(batch)), bulk.acted_by, details) r
            where r.verdict = 'sent';
        end if;
        bulk.processed := bulk.processed + cardinality(batch);
        bulk.state := case when bulk.processed >= bulk.total then 'DONE' else 'RUNNING' end;
        update horsies.bulk_actions b
        set processed = bulk.processed, changed = b.changed + changed_count, state = bulk.state,
            worked_at = horsies.server_time(),
            ended_at = case when bulk.state = 'DONE' then horsies.now() end
        where b.id = wanted;
    end if;
    state := bulk.state;
    processed := bulk.processed;
    return next;
end
$function$;
