-- Purpose: Give a worker up to `most` due tasks of one queue and priority whose keys take turns: one task of each key
-- with room, the oldest first, beginning after the key where the worker's last claim stopped; then a second one of
-- each, and so on.
--
-- `position` is this claim's part of the worker's cursors, null at first: a JSON object with the key after which the
-- walk begins (`after`), and, while several claims walk over keys without room, the key where the first of them began
-- (`origin`), whether the walk has passed the last key since (`wrapped`), and the earliest time at which one of these
-- keys has room again (`due`). Returns the tasks, and a last row with the next position and with `due_in`: 0 if the
-- walk stopped at its bound of `most_probes` keys, else the seconds until a key has room again.
--
-- The rows of a key are read from the due time of its first one, which `keys_with_room` has found: the rows before it
-- are dead, and stay in the index as long as an old snapshot needs them. See also `claim_in_order`. When the walk
-- itself reads many blocks more than it returns keys, it keeps marks for the next claims of the session
-- (`keep_turn_marks`).
--
-- Planner settings: see docs/architecture.md.
-- Locks: the task rows that are taken, SKIP LOCKED; then rows of buckets. The caller holds the lock of the queue.
-- Called by: claim_from_queue.
-- Granted to: nobody.
create function horsies.claim_in_turns(
    claiming_worker uuid, exchange bigint, most int, queue_name text, at_priority int, known_names text[],
    singly boolean, clock timestamptz, per_key int, has_holds boolean, is_limited boolean, "position" json,
    most_probes int
) returns table (
    id uuid, task_name text, args json, attempt int, timeout_ms int, queue text, capped boolean, root_id uuid,
    inputs json, trace_context json, due_in double precision, cursors json
)
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set enable_sort = off set jit = off set plan_cache_mode = force_generic_plan
as $function$
declare
    most_read constant int := 1000;                 -- rows of a key that are searched for known names
    after_key text := coalesce("position" ->> 'after', '');
    after_time timestamptz := case when "position" ->> 'after' is null then '-infinity' else 'infinity' end;
    origin constant text := coalesce("position" ->> 'origin', "position" ->> 'after');    -- null: the first key
    wrapped boolean := coalesce(("position" ->> 'wrapped')::boolean, "position" ->> 'after' is null);
    next_due timestamptz := ("position" ->> 'due')::timestamptz;
    rate record;                                    -- that of each key
    probes int := 0;
    is_complete boolean := false;                   -- all keys were visited
    step int;
    seen text[];
    keys text[] := '{}';                            -- those with room and a task that this worker can run
    rooms int[] := '{}';
    due_times timestamptz[] := '{}';                -- of the first task of each key
    walked record;
    found_keys text[];
    found_rooms int[];
    found_times timestamptz[];
    depth int := 1;                                 -- how many tasks of each key are read
    candidates uuid[];
    candidate_keys text[];
    taken_keys text[] := '{}';
    still_wanted int := most;

    -- The marks beside dead rows; see `keep_turn_marks`.
    usual_blocks constant int := 200;               -- of the table, and some for each key
    blocks_of_key constant int := 3 + coalesce(per_key, 0);
    marks constant jsonb := horsies.turn_marks(queue_name);
    kept constant jsonb := marks -> at_priority::text;
    uses_marks constant boolean := coalesce(
        clock between (kept ->> 'from')::timestamptz and (kept ->> 'until')::timestamptz, false);
    in_flight constant jsonb := case when clock >= (marks -> 'in_flight' ->> 'at')::timestamptz
                                     then marks -> 'in_flight' end;
    uppers text[] := case when uses_marks then array(select jsonb_array_elements_text(kept -> 'uppers')) end;
    since timestamptz[] := case when uses_marks then array(select jsonb_array_elements_text(kept -> 'since')) end;
    blocks bigint := 0;
    walked_keys text[];
    walked_times timestamptz[];
begin
    select r.* into rate from horsies.rate_at(queue_name, 'key', clock) as r;
    while cardinality(keys) < most and probes < most_probes and not is_complete loop
        step := least(greatest(most - cardinality(keys), 20), most_probes - probes);
        blocks := blocks - pg_stat_get_xact_blocks_fetched('{horsies}.tasks'::regclass);
        select array_agg(k.key), array_agg(k.first_due),
               array_agg(k.key) filter (where k.is_ahead), array_agg(k.key) filter (where k.is_ahead and k.room > 0),
               array_agg(k.room) filter (where k.is_ahead and k.room > 0),
               array_agg(k.first_due) filter (where k.is_ahead and k.room > 0),
               least(next_due, min(k.free_at) filter (where k.is_ahead))
        into walked_keys, walked_times, seen, found_keys, found_rooms, found_times, next_due
        from (
            select r.*, (not wrapped or origin is null or r.key <= origin) as is_ahead
            from horsies.keys_with_room(
                queue_name, at_priority, after_key, after_time, step, most, clock, per_key, rate.token_us, rate.burst,
                rate.produced, rate.full_from, has_holds, uppers, since, in_flight) as r
        ) as k;
        blocks := blocks + pg_stat_get_xact_blocks_fetched('{horsies}.tasks'::regclass)
                  - blocks_of_key * coalesce(cardinality(walked_keys), 0);
        if uppers is null and blocks > usual_blocks then        -- from now on, marks are kept
            uppers := array[null];
            since := '{-infinity}';
        end if;
        if uppers is not null then
            select m.merged_uppers, m.merged_since into uppers, since
            from horsies.merge_turn_marks(
                uppers, since, after_key, after_time, walked_keys, walked_times,
                coalesce(cardinality(walked_keys), 0) < step, clock - interval '1 s') as m;
        end if;
        probes := probes + coalesce(cardinality(seen), 0);
        if found_keys is not null then
            select keys || coalesce(array_agg(f.key order by f.place), '{}'),
                   rooms || coalesce(array_agg(f.room order by f.place), '{}'),
                   due_times || coalesce(array_agg(f.first_due order by f.place), '{}')
            into keys, rooms, due_times
            from unnest(found_keys, found_rooms, found_times) with ordinality as f (key, room, first_due, place)
            where exists (
                select from (
                    select t.task_name, t.good_until from horsies.tasks t
                    where t.queue = queue_name and t.priority = at_priority and t.turn_key = f.key
                      and t.status = 'PENDING' and not t.held and t.run_at >= f.first_due and t.run_at <= clock
                    order by t.run_at, t.id limit most_read
                ) as r
                where r.task_name = any (known_names) and (r.good_until > clock) is not false);
        end if;
        if coalesce(cardinality(seen), 0) < step then
            is_complete := wrapped;
            wrapped := true;
            after_key := '';
            after_time := '-infinity';
        else
            after_key := seen[cardinality(seen)];
            after_time := 'infinity';
        end if;
    end loop;

    if uppers is not null or kept is not null then
        perform horsies.keep_turn_marks(queue_name, at_priority, uppers, since, per_key is not null, clock);
    end if;

    -- A start is not written with a time before the finish that made room for it.
    clock := horsies.now();
    while cardinality(keys) > 0 and still_wanted > 0 loop
        select array_agg(c.id order by c.nth, c.place), array_agg(c.key order by c.nth, c.place)
        into candidates, candidate_keys
        from (
            select k.key, k.place, r.id, row_number() over (partition by k.place order by r.run_at, r.id) as nth
            from unnest(keys, rooms, due_times) with ordinality as k (key, room, first_due, place)
            cross join lateral (
                select few.id, few.run_at from (
                    select t.id, t.run_at, t.task_name, t.good_until from horsies.tasks t
                    where t.queue = queue_name and t.priority = at_priority and t.turn_key = k.key
                      and t.status = 'PENDING' and not t.held and t.run_at >= k.first_due and t.run_at <= clock
                    order by t.run_at, t.id limit most_read
                ) as few
                where few.task_name = any (known_names) and (few.good_until > clock) is not false
                limit least(k.room - (select count(*)::int from unnest(taken_keys) as u (key) where u.key = k.key),
                            depth)
            ) as r
        ) as c;
        exit when candidates is null;
        for walked in
            select * from horsies.take_keys(
                claiming_worker, exchange, candidates, candidate_keys, still_wanted, clock,
                case when is_limited then array[queue_name] end, case when is_limited then array[most] end, singly)
        loop
            still_wanted := still_wanted - 1;
            taken_keys := taken_keys || walked.turn_key;
            id := walked.id; task_name := walked.task_name; args := walked.args; attempt := walked.attempt;
            timeout_ms := walked.timeout_ms; queue := walked.queue; capped := walked.capped;
            root_id := walked.root_id; inputs := walked.inputs;
            trace_context := walked.trace_context; due_in := walked.due_in;
            return next;
        end loop;
        exit when depth >= most;
        depth := least(most, greatest(2 * depth, 2 * (most / cardinality(keys))));
    end loop;
    if rate.token_us is not null and cardinality(taken_keys) > 0 then
        select r.* into rate from horsies.rate_at(queue_name, 'key', clock) as r;
        perform horsies.use_tokens(queue_name, 'key', array_agg(u.key), array_agg(u.number), rate.full_from)
        from (select t.key, count(*)::int as number from unnest(taken_keys) as t (key) group by t.key) as u;
        select least(next_due, min(horsies.tokens_due(
            b.used_to, rate.produced, rate.full_from, rate.token_us, rate.burst, clock))) into next_due
        from horsies.buckets b where b.queue = queue_name and b.scope = 'key' and b.key = any (taken_keys)
          and horsies.tokens_left(b.used_to, rate.produced, rate.full_from) = 0;
    end if;

    id := null; task_name := null; args := null; attempt := null; timeout_ms := null; queue := null; capped := null;
    root_id := null; inputs := null; trace_context := null;
    if cardinality(taken_keys) > 0 then
        cursors := json_build_object('after', taken_keys[cardinality(taken_keys)]);
        due_in := case when still_wanted > 0 and is_complete then horsies.spread_wait(next_due, clock) else 0 end;
    elsif is_complete then
        cursors := json_build_object('after', origin);
        due_in := horsies.spread_wait(next_due, clock);
    else
        cursors := json_build_object(
            'after', case when after_time = 'infinity' then after_key end,
            'origin', origin, 'wrapped', wrapped, 'due', next_due);
        due_in := 0;
    end if;
    return next;
end
$function$;
