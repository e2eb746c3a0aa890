-- Purpose: Find out whether a send was accepted before: under its own id, or by giving a waiting unique task its
-- arguments. Returns no row if it was not; otherwise the task, and 'known', or 'mismatch' if another request has the
-- id. A task only ever moves from `tasks` to history, so `tasks` is searched first.
-- Planner settings: see docs/architecture.md.
-- Locks: none.
-- Called by: enqueue_once, insert_unique.
-- Granted to: nobody.
create function horsies.find_sent(sent_id uuid, request_fingerprint bytea)
returns table (task_id uuid, verdict text)
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $function$
declare
    found_fingerprint bytea;
begin
    task_id := sent_id;
    select t.fingerprint into found_fingerprint from horsies.tasks t where t.id = sent_id;
    if not found then
        select h.fingerprint into found_fingerprint from horsies.find_ended(sent_id) h;
    end if;
    if not found then
        select r.task_id, r.fingerprint into task_id, found_fingerprint
        from horsies.replacements r where r.request_id = sent_id;
    end if;
    if found then
        verdict := case when found_fingerprint = request_fingerprint then 'known' else 'mismatch' end;
        return next;
    end if;
end
$function$;
