-- Purpose: Keep the tasks of queues or keys from starting until given times; 'infinity': until somebody resumes them.
-- The arrays have one element per hold. A hold is only ever lengthened, whatever the order in which concurrent calls
-- arrive, and it names who has set the longest one.
--
-- The locks of the queues keep a claim that has looked before from starting a task after the hold was committed.
-- Claims take the same locks before they read holds.
-- Locks: rows of `locks` in the order of their names; then rows of `queues` by name; then rows of `holds` by queue,
-- scope and key. The caller may hold task rows: claims never wait for those.
-- Called by: key_control, postpone.
-- Granted to: nobody.
create function horsies.hold(
    held_queues text[], held_scopes text[], held_keys text[], hold_kind text, ends timestamptz[], set_by text[],
    reasons text[], clock timestamptz
) returns void
language plpgsql as $function$
declare
    names constant text[] := array(select distinct name from unnest(held_queues) as name order by name);
begin
    perform horsies.lock_limits(array(select 'queue ' || name from unnest(names) as name), true);
    insert into horsies.queues as q (name, has_holds)
    select name, true from unnest(names) as name order by name
    on conflict (name) do update set has_holds = true where not q.has_holds;
    insert into horsies.holds as h (queue, scope, key, kind, until, who, reason, set_at)
    select longest.queue, longest.scope, longest.key, hold_kind, longest.until, longest.who, longest.reason, clock
    from (
        select distinct on (given.queue, given.scope, given.key) given.*
        from unnest(held_queues, held_scopes, held_keys, ends, set_by, reasons)
            as given (queue, scope, key, until, who, reason)
        order by given.queue, given.scope, given.key, given.until desc
    ) as longest
    order by longest.queue, longest.scope, longest.key
    on conflict (queue, scope, key, kind) do update
    set until = excluded.until, who = excluded.who, reason = excluded.reason, set_at = excluded.set_at
    where h.until < excluded.until;
end
$function$;
