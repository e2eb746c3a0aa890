-- Purpose: start a run. Returns 'started', 'known' (it was started before by the same request) or 'mismatch' (the id
-- belongs to another spec). A run stays until it is pruned, so a replay meets its row, and looks at it in a statement of its
-- own, with a snapshot that has it. A first start only inserts.
-- Locks: the new run. Called by: producers.
create function horsies.workflow_start(new_id uuid, document json, new_fingerprint bytea) returns text
language plpgsql as $function$
begin
    perform horsies.durable();
    if horsies.workflow_insert(new_id, new_id, null, null, 'RUNNING', document, new_fingerprint) then
        return 'started';
    end if;
    perform horsies.need_read_committed();
    perform from horsies.workflows w where w.id = new_id and w.fingerprint = new_fingerprint;
    return case when found then 'known' else 'mismatch' end;
end
$function$;
