-- Purpose: Remember in this session where the next claim from these queues may begin to look.
--
-- While a transaction anywhere on the server keeps an old snapshot, dead rows can be removed neither from the table
-- nor from its indexes. Every search for the oldest waiting row then steps over all rows that have ended since, and
-- claims become slower for as long as that transaction lasts. So a claim that has read too many blocks keeps marks:
-- for each queue and each priority, a due time before which no row was waiting. `claim_head` begins there.
--
-- A row can appear behind a mark: an insert that commits late, a task that is released or recovered, or a resumed
-- workflow. So marks are used only for a time, and then a claim looks at everything again. This time is twenty times
-- as long as such a look takes, but at most 5 s. So these looks take a twentieth of the time, and a row behind a mark
-- waits no longer than that. A mark is at least one second before the clock, so that inserts which commit within a
-- second are always seen. Marks are kept in a setting of the session. Behind a pooler in transaction mode, other
-- workers may find them; they are as right for these.
--
-- `looked_at` are the priorities at which a waiting row was found, and `first_due` the due times of these rows. All
-- priorities up to `last_looked_at` were searched in the queues `open_queues`. `marks` are those that were kept
-- before; `used_marks` says whether the claim has looked only behind them. Otherwise it has looked at everything, and
-- has read `blocks` blocks of the table; up to `max_blocks`, no marks are needed.
-- Locks: none.
-- Called by: claim_in_order.
-- Granted to: nobody.
create function horsies.keep_claim_marks(
    queue_names text[], open_queues text[], marks jsonb, used_marks boolean, looked_at int[], first_due timestamptz[],
    last_looked_at int, blocks bigint, max_blocks int,
    clock timestamptz
) returns void
language plpgsql as $function$
declare
    latest constant timestamptz := clock - interval '1 s';
    seconds_of_block constant double precision := 0.00001;      -- measured, with a block in the cache
    looks_share constant int := 20;
    longest_s constant int := 5;
    kept jsonb;
begin
    if not used_marks and blocks <= max_blocks then
        perform set_config('horsies.claim_marks', '', false);
        return;
    end if;
    with known as (
        select m.mark ->> 0 as queue, (m.mark ->> 1)::int as priority,
               case when used_marks then (m.mark ->> 2)::timestamptz end as since
        from jsonb_array_elements(coalesce(marks -> 'marks', '[]')) as m (mark)
        union all
        select q.name, l.priority, null from unnest(open_queues) as q (name), unnest(looked_at) as l (priority)
    ),
    pairs as (
        select k.queue, k.priority, max(k.since) as since from known as k group by k.queue, k.priority
    ),
    moved as (
        select p.queue, p.priority,
               case when p.queue = any (open_queues) and p.priority <= last_looked_at
                    then greatest(p.since, least(f.due, latest)) else p.since end as since
        from pairs as p
        left join unnest(looked_at, first_due) as f (priority, due) on f.priority = p.priority
    )
    select jsonb_agg(jsonb_build_array(m.queue, m.priority, m.since)) into kept
    from moved as m where m.since is not null;
    perform set_config('horsies.claim_marks', jsonb_build_object(
        'table', '{horsies}.tasks'::regclass::oid::text,
        'queues', queue_names,
        'from', case when used_marks then marks -> 'from' else to_jsonb(clock) end,
        'until', case when used_marks then marks -> 'until' else to_jsonb(
            clock + make_interval(secs => least(longest_s, looks_share * seconds_of_block * blocks))) end,
        'marks', coalesce(kept, '[]'))::text, false);
end
$function$;
