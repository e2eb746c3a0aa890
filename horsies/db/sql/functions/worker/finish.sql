-- Purpose: Store the outcomes of attempts. The verdict of each is 'accepted', 'duplicate' (the same outcome was
-- stored before, but its reply was lost) or 'stale' (the claim no longer belongs to this worker, and nothing was
-- stored). The fence of a claim that was ended otherwise, for example by `reap`, is in history too: only the same
-- error code makes it a duplicate.
--
-- A batch is stored in one step. If the database refuses a row of it, each outcome is stored separately. The refused
-- one ends as FAILED with WORKER_SERIALIZATION_ERROR and the server's reason, and the others are not affected.
-- Returns for each outcome also the error code that was stored, and the time of the retry (null: no retry).
--
-- Planner settings: see docs/architecture.md.
-- Locks: root runs, then task rows, both in the order of their ids.
-- Called by: reap; queries/worker.py.
-- Granted to: worker.
create function horsies.finish(
    finishing_worker uuid, ids uuid[], exchanges bigint[], oks boolean[], results text[], codes text[],
    retry_afters double precision[], hostname text, pids int[], process_names text[]
) returns table (id uuid, verdict text, stored_code text, due_again timestamptz)
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off set plan_cache_mode = force_generic_plan
as $function$
declare
    accepted uuid[];
    refused uuid[];
    place int;
    refusal text;
begin
    perform horsies.durable();
    perform horsies.need_read_committed();
    begin
        accepted := horsies.finish_batch(finishing_worker, ids, exchanges, oks, results, codes, retry_afters,
                                         hostname, pids, process_names);
    exception when data_exception or integrity_constraint_violation or program_limit_exceeded then
        perform horsies.lock_roots(ids);  -- all roots before the first task row
        for place in select given.place from unnest(ids) with ordinality as given (id, place) order by given.id loop
            begin
                accepted := accepted || horsies.finish_batch(
                    finishing_worker, ids[place:place], exchanges[place:place], oks[place:place],
                    results[place:place], codes[place:place], retry_afters[place:place], hostname,
                    pids[place:place], process_names[place:place]);
            exception when data_exception or integrity_constraint_violation or program_limit_exceeded then
                refusal := json_build_object('error_code', 'WORKER_SERIALIZATION_ERROR', 'data', null,
                    'exception', null, 'message', 'the database refused this outcome: ' || sqlerrm)::text;
                refused := refused || ids[place];
                accepted := accepted || horsies.finish_batch(
                    finishing_worker, ids[place:place], exchanges[place:place], array[false], array[refusal],
                    array['WORKER_SERIALIZATION_ERROR'], array[null::double precision], hostname,
                    pids[place:place], process_names[place:place]);
            end;
        end loop;
    end;
    return query
    select given.id, case
        when given.id = any (accepted) then 'accepted'
        when exists (select from horsies.find_ended(given.id) h
                     where h.worker_id = finishing_worker and h.exchange_no = given.exchange_no
                       and (h.error_code is not distinct from given.code
                            or h.error_code = 'WORKER_SERIALIZATION_ERROR')) then 'duplicate'
        when exists (select from horsies.attempts a
                     where a.task_id = given.id and a.worker_id = finishing_worker
                       and a.exchange_no = given.exchange_no
                       and a.error_code in (given.code, 'WORKER_SERIALIZATION_ERROR')) then 'duplicate'
        else 'stale'
    end,
    case when given.id = any (refused) then 'WORKER_SERIALIZATION_ERROR' else given.code end,
    case when not given.ok or given.id = any (refused)
         then (select t.run_at from horsies.tasks t where t.id = given.id) end
    from unnest(ids, exchanges, oks, codes) as given (id, exchange_no, ok, code);
end
$function$;
