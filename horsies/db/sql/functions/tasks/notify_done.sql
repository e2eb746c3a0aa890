-- Purpose: tell waiters that these tasks ended, or may have. A hint: waiters also poll, slowly.
-- Few ids come a notice each, with status, task name and result behind the id where they fit, which spares an idle
-- system a round trip; many come packed, 200 ids of 32 hex digits to a notice, for who is busy has no time for that.
-- Called by: workers in a transaction of their own; reap, expire, notify_cancel, workflow_settle,
-- workflow_pause and workflow_cancel inside theirs.
create function horsies.notify_done(ids uuid[]) returns void
language plpgsql
set enable_seqscan = off set plan_cache_mode = force_generic_plan
as $function$
declare
    few constant int := 4;
    longest constant int := 7999;    -- bytes in a notice
begin
    if cardinality(ids) <= few then
        perform pg_notify('{horsies}.done', case when octet_length(notice.with_result) <= longest
                                                 then notice.with_result else notice.hex end)
        from (
            select replace(ended.id::text, '-', '') as hex,
                   replace(ended.id::text, '-', '') || ' ' || h.status || ' ' || h.task_name || E'\n' || h.result
                       as with_result
            from unnest(ids) as ended (id)
            left join lateral horsies.find_ended(ended.id) h on position(E'\n' in h.task_name) = 0
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
