-- Purpose: Tell waiters that these tasks or runs ended, or may have. The notification is a hint: waiters also poll,
-- slowly. The ids are packed, 200 ids of 32 hex digits to a notification. `with_results`, up to four tasks get one
-- notification each, which carries status, task name and result if they fit and the result has no secrets; this saves
-- an idle system a round trip. A busy system has no time to look up each result.
-- Planner settings: see docs/architecture.md.
-- Locks: none.
-- Called by: announce, insert_unique, notify_cancel; queries/worker.py.
-- Granted to: worker.
create function horsies.notify_done(ids uuid[], with_results boolean) returns void
security definer set search_path = pg_catalog, pg_temp
language plpgsql
set enable_seqscan = off set plan_cache_mode = force_generic_plan
as $function$
declare
    few constant int := 4;
    longest constant int := 7999;    -- bytes in a notice
begin
    if with_results and cardinality(ids) <= few then
        perform pg_notify('{horsies}.done', case when octet_length(notice.with_result) <= longest
                                                 then notice.with_result else notice.hex end)
        from (
            select replace(ended.id::text, '-', '') as hex,
                   replace(ended.id::text, '-', '') || ' ' || h.status || ' ' || h.task_name || E'\n' || h.result
                       as with_result
            from unnest(ids) as ended (id)
            left join lateral horsies.find_ended(ended.id) h
                on position(E'\n' in h.task_name) = 0 and h.secret_result is null
        ) as notice;
    else
        perform pg_notify('{horsies}.done', packed.payload)
        from (
            select string_agg(replace(ended.id::text, '-', ''), '') as payload
            from unnest(ids) with ordinality as ended (id, place)
            group by (ended.place - 1) / 200
        ) as packed;
    end if;
end
$function$;
