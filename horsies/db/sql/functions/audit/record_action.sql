-- Purpose: Keep a record of an action, in the transaction of the action: one row for each 1,000 subjects, and none
-- without subjects. The caller passes only what the action has changed. `who` is what the caller says; the role that
-- has logged in is recorded as well, because nobody can choose that one.
-- Locks: none.
-- Called by: bulk_control, bulk_preview, cancel, cancel_many, enqueue_once, key_control, limit_queue, queue_control,
-- reap_stale, rerun, rerun_many, return_stale_to_queue, schedule_pause, schedule_run, workflow_control.
-- Granted to: nobody.
create function horsies.record_action(who text, action text, subjects text[], details json) returns void
language sql volatile as $function$
    insert into horsies.audit (id, acted_at, who, database_user, action, subjects, details)
    select horsies.new_task_id(horsies.now()), horsies.now(),
           left(coalesce(nullif(record_action.who, ''), session_user), 200), session_user, record_action.action,
           record_action.subjects[first:first + 999], record_action.details
    from generate_series(1, cardinality(record_action.subjects), 1000) as first
$function$;
