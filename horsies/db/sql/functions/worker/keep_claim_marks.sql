-- Purpose: Remember in this session where the next claim from these queues may begin to look.
--
-- While a transaction anywhere on the server keeps an old snapshot, dead rows can be removed neither from the table
-- nor from its indexes. Every search for the oldest waiting row then steps over all rows that have ended since, and
-- claims become slower for as long as that transaction lasts. So a claim that has read too many blocks keeps marks:
-- for each queue and each range of priorities, a due time before which no row was waiting. `claim_head` begins there.
-- A range begins at the priority of a mark and ends before that of the next one. A queue in which nothing is waiting
-- has one mark, at the first priority.
--
-- A row can appear behind a mark: an insert that commits late, a task that is released or recovered, or a resumed
-- workflow. So marks are used only for a time, and then a claim looks at everything again. This time is twenty times
-- as long as such a look takes, but at most 5 s. So these looks take a twentieth of the time, and a row behind a mark
-- waits no longer than that. A mark is at least one second before the clock, so that inserts which commit within a
-- second are always seen. Marks are kept in a setting of the session. Behind a pooler in transaction mode, other
-- workers may find them; they are as right for these.
--
-- `looked_at` are the priorities at which a waiting row was found, and `first_due` the due times of these rows. All
-- priorities up to `last_looked_at` were searched in the queues `open_queues`; the next priority begins a range that
-- was not. `marks` are those that the session keeps in `setting`; `used_marks` says whether the claim has looked only
-- behind them. Otherwise it has looked at everything, and has read `blocks` blocks of the table; up to `max_blocks`,
-- no marks are needed.
-- Locks: none.
-- Called by: claim_in_order, plain_heads.
-- Granted to: nobody.
create function horsies.keep_claim_marks(
    queue_names text[], open_queues text[], marks jsonb, used_marks boolean, looked_at int[], first_due timestamptz[],
    last_looked_at int, blocks bigint, max_blocks int,
    clock timestamptz, setting text
) returns void
language plpgsql as $function$
declare
    latest constant timestamptz := clock - interval '1 s';
    seconds_of_block constant double precision := 0.00001;      -- measured, with a block in the cache
    looks_share constant int := 20;
    longest_s constant int := 5;
    first_priority constant int := 1;
    last_priority constant int := 100;
    kept jsonb;
begin
    if not used_marks and blocks <= max_blocks then
        perform set_config(setting, '', false);
        return;
    end if;
    with old as (
        select m.mark ->> 0 as queue, (m.mark ->> 1)::int as priority, (m.mark ->> 2)::timestamptz as since
        from jsonb_array_elements(coalesce(marks -> 'marks', '[]')) as m (mark)
    ),
    pairs as (
        select o.queue, o.priority from old as o
        union
        select q.name, l.priority
        from unnest(open_queues) as q (name), unnest(looked_at || first_priority || last_looked_at + 1) as l (priority)
        where l.priority <= last_priority
    ),
    inherited as (                                  -- the times until now
        select p.queue, p.priority, case when used_marks then (
                   select o.since from old as o where o.queue = p.queue and o.priority <= p.priority
                   order by o.priority desc limit 1) end as since
        from pairs as p
    ),
    moved as (
        select i.queue, i.priority, coalesce(
            case when i.queue = any (open_queues) and i.priority <= last_looked_at
                 then greatest(i.since, least(f.due, latest)) else i.since end, '-infinity') as since
        from inherited as i
        left join unnest(looked_at, first_due) as f (priority, due) on f.priority = i.priority
    )
    select jsonb_agg(jsonb_build_array(m.queue, m.priority, m.since)) into kept from moved as m;
    perform set_config(setting, jsonb_build_object(
        'table', '{horsies}.tasks'::regclass::oid::text,
        'queues', queue_names,
        'from', case when used_marks then marks -> 'from' else to_jsonb(clock) end,
        'until', case when used_marks then marks -> 'until' else to_jsonb(
            clock + make_interval(secs => least(longest_s, looks_share * seconds_of_block * blocks))) end,
        'marks', coalesce(kept, '[]'))::text, false);
end
$function$;
