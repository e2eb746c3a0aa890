-- Purpose: Build a TaskError, in the form that its codec reads, for errors that the database itself reports.
-- Locks: none.
-- Called by: cancel, cancel_many, expire, fail_unclaimable, insert_unique, postpone, reap, workflow_advance,
-- workflow_cancel, workflow_inputs, workflow_map, workflow_note, workflow_settle.
-- Granted to: nobody.
create function horsies.task_error(code text, message text, data json default null) returns json
language sql stable as $function$
    select json_build_object('error_code', code, 'message', message, 'data', data, 'exception', null)
$function$;
