-- Purpose: Store outcomes separately, after `finish_batch` could not store them in one step. An outcome that the
-- database refuses ends as FAILED with WORKER_SERIALIZATION_ERROR and the server's reason. An outcome is left out if
-- another transaction holds its root run or a task that has to change with it; `finish` answers 'busy' for it.
-- Returns the ids that were accepted, and those of them that were refused.
--
-- Root runs that are locked are skipped at once. A later lock, for example of a sibling that is to be paused, is
-- waited for briefly. After several such waits the rest of the outcomes is left out, so that the call ends in bounded
-- time.
--
-- Locks: root runs in the order of their ids, SKIP LOCKED; then those of `finish_batch`, for one outcome after the
-- other.
-- Called by: finish.
-- Granted to: nobody.
create function horsies.finish_each(
    finishing_worker uuid, ids uuid[], exchanges bigint[], oks boolean[], results text[], codes text[],
    retry_afters double precision[], hostname text, pids int[], process_names text[], scopes text[],
    traces text[],
    out accepted uuid[], out refused uuid[]
)
language plpgsql
set lock_timeout = '50ms'
as $function$
declare
    most_waits constant int := 20;
    waits int := 0;
    free constant uuid[] := horsies.lock_free_roots(ids);  -- all roots before the first task row
    place int;
    refusal text;
begin
    for place in
        select given.place from unnest(ids) with ordinality as given (id, place)
        where given.id = any (free) order by given.id
    loop
        refusal := null;
        begin
            begin
                accepted := accepted || horsies.finish_batch(
                    finishing_worker, ids[place:place], exchanges[place:place], oks[place:place],
                    results[place:place], codes[place:place], retry_afters[place:place], hostname,
                    pids[place:place], process_names[place:place], scopes[place:place], traces[place:place]);
            exception when data_exception or integrity_constraint_violation or program_limit_exceeded then
                refusal := json_build_object('error_code', 'WORKER_SERIALIZATION_ERROR', 'data', null,
                    'exception', null, 'message', 'the database refused this outcome: ' || sqlerrm)::text;
                accepted := accepted || horsies.finish_batch(
                    finishing_worker, ids[place:place], exchanges[place:place], array[false], array[refusal],
                    array['WORKER_SERIALIZATION_ERROR'], array[null::double precision], hostname,
                    pids[place:place], process_names[place:place], null, traces[place:place]);
                refused := refused || ids[place];
            end;
        exception when lock_not_available then
            waits := waits + 1;
            exit when waits = most_waits;
        end;
    end loop;
end
$function$;
