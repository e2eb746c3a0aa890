-- Purpose: Return from which time on the claimed tasks of a queue have to be counted: a JSON object with the time
-- `since`, and with the `keys` that have tasks in flight which were claimed before, and the `times` of the first of
-- these claims. `marks` are the ones until now, which shorten the search (null: there are none). See
-- `keep_turn_marks`.
--
-- The condition on the key chooses the index of claimed tasks by key, of which only the entries are read that are not
-- before `since`. If there are very many keys with such tasks, the marks stay as they are.
--
-- Planner settings: see docs/architecture.md.
-- Locks: none. The caller holds the lock of the queue.
-- Called by: keep_turn_marks.
-- Granted to: nobody.
create function horsies.in_flight_marks(queue_name text, marks jsonb, clock timestamptz, latest timestamptz)
returns jsonb
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $function$
declare
    most_keys constant int := 1000;
    known constant jsonb := case when clock >= (marks ->> 'at')::timestamptz then marks end;
    counted_since constant timestamptz := coalesce((known ->> 'since')::timestamptz, '-infinity');
    found_keys text[];
    found_times timestamptz[];
begin
    with claimed as (
        select coalesce(t.task_key, '') as key, t.claimed_at from horsies.tasks t
        where t.queue = queue_name and coalesce(t.task_key, '') >= '' and t.claimed_at >= counted_since
          and t.claimed_at < latest and t.status <> 'PENDING' and (t.task_key is not null or t.turn_key is not null)
        union all
        select b.key, t.claimed_at
        from unnest(array(select jsonb_array_elements_text(known -> 'keys')),
                    array(select jsonb_array_elements_text(known -> 'times'))::timestamptz[]) as b (key, since)
        cross join lateral (
            select t.claimed_at from horsies.tasks t
            where t.queue = queue_name and coalesce(t.task_key, '') = b.key and t.claimed_at >= b.since
              and t.claimed_at < counted_since and t.status <> 'PENDING'
              and (t.task_key is not null or t.turn_key is not null)
        ) as t
    ),
    of_keys as (
        select c.key, min(c.claimed_at) as since from claimed as c group by c.key
    )
    select coalesce(array_agg(k.key), '{}'), coalesce(array_agg(k.since), '{}') into found_keys, found_times
    from of_keys as k;
    if cardinality(found_keys) > most_keys then
        return known;
    end if;
    return jsonb_build_object('at', clock, 'since', greatest(latest, counted_since), 'keys', to_jsonb(found_keys),
                              'times', to_jsonb(found_times));
end
$function$;
