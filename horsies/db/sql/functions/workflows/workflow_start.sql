-- Purpose: Start a run. Returns 'started', 'known' (the same request started it before) or 'mismatch' (the id
-- belongs to another spec). A run is kept until it is pruned, so a replay finds its row, in a separate statement
-- whose snapshot includes it. A first start only inserts.
-- Locks: the new run.
-- Called by: queries/workflows.py.
-- Granted to: producer, worker.
create function horsies.workflow_start(new_id uuid, document json, new_fingerprint bytea) returns text
security definer set search_path = pg_catalog, pg_temp
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
