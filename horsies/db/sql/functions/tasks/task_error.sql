-- A TaskError of the database's own, as its codec reads it.
-- Called by: cancel, cancel_many, expire, reap, workflow_advance, workflow_settle, workflow_map, workflow_note,
-- workflow_cancel, workflow_inputs.
create function horsies.task_error(code text, message text, data json default null) returns json
language sql stable as $function$
    select json_build_object('error_code', code, 'message', message, 'data', data, 'exception', null)
$function$;
