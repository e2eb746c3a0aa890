-- Purpose: tell waiters that these tasks ended, or may have: ids of 32 hex digits, packed 200 to a notice.
-- A hint: waiters also poll, slowly.
-- Called by: workers in a transaction of their own; reap and expire inside theirs.
create function horsies.notify_done(ids uuid[]) returns void
language sql as $function$
    select count(pg_notify('horsies.done', packed.payload))
    from (
        select string_agg(replace(ended.id::text, '-', ''), '') as payload
        from unnest(ids) with ordinality as ended (id, place)
        group by (ended.place - 1) / 200
    ) as packed
$function$;
