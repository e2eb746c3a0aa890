-- Purpose: Do the same as `claim` for a worker of which at least one queue is regulated (see `flow_settings`). The
-- other queues are searched by `claim_in_order`, one range of priorities after the other, so that the order of
-- priorities holds across all queues. At the same priority, every other claim begins with the regulated queues.
--
-- The locks of the regulated queues that have waiting tasks are taken first, and waited for. The clock is read after
-- that: a start must not get a time before that of a start in an earlier transaction. Then, for each queue, due rows
-- are moved into the order of turns, and expired holds and full buckets are deleted. If more rows may be due than were
-- moved, `due_in` is 0.
--
-- Priorities at which tasks wait in the order of their due times are listed once for each queue (`plain_heads`). Those
-- at which tasks wait for their turns are searched one after the other (`turn_head`). Beside many dead rows, both
-- begin at the marks of the session.
--
-- `given_cursors` is a JSON object with the positions of the worker's last claim, by queue and priority. The last row
-- of the reply has no id, and the new positions.
--
-- Planner settings: see docs/architecture.md.
-- Locks: rows of `locks`: the cluster's, then the queues' in the order of their names; then the task rows that are
-- taken, and other rows of `locks`, SKIP LOCKED; rows of `queues`, buckets and holds.
-- Called by: claim.
-- Granted to: nobody.
create function horsies.claim_regulated(
    claiming_worker uuid, exchange bigint, wanted int, free int, queue_names text[], known_names text[],
    singly boolean, given_cursors json
) returns table (
    id uuid, task_name text, args json, attempt int, timeout_ms int, queue text, capped boolean, root_id uuid,
    inputs json, trace_context json, due_in double precision, cursors json
)
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set enable_sort = off set jit = off set plan_cache_mode = force_generic_plan
as $function$
declare
    most_promoted constant int := 200;
    lowest constant int := 100;                     -- the last priority
    no_priority constant text := '0';               -- where `positions` keeps the key at which `prune_flow` begins
    clock timestamptz;
    regulated text[];
    plain text[];
    cluster_limit int;
    still_wanted int := wanted;
    still_free int := free;
    next_due_in double precision;
    positions jsonb := coalesce(given_cursors::jsonb, '{}');
    reached int := 0;                               -- the last priority of the regulated queues
    plain_reached int := 0;                         -- the last priority of the other queues
    plain_until int;
    at_priority int;
    sources text[];                                 -- what is searched next: queues, and '' for all that are plain
    source text;
    item record;
    promoted int;
    pruned_until text;
    heads jsonb;                                    -- of a queue: the due times of the first rows by priority
    heads_of_queues jsonb := '{}';                  -- `heads` of all regulated queues
begin
    select w.cluster_cap into cluster_limit from horsies.workers w where w.id = claiming_worker;
    if not found then
        return;
    end if;
    regulated := array(select s.name from horsies.flow_settings(queue_names) as s);
    plain := array(select q.name from unnest(queue_names) as q (name) where q.name <> all (regulated));
    regulated := array(
        select s.name from horsies.flow_settings(regulated) as s
        where not s.paused and (s.has_holds or s.turns = 'ending'
                                or horsies.marks_until(s.name, horsies.now()) is not null
                                or horsies.has_waiting(s.name)));
    perform horsies.lock_limits(
        array(select 'queue ' || r.name from unnest(regulated) as r (name))
        || case when cluster_limit is not null then array['cluster'] else '{}' end, may_wait => true);
    clock := horsies.now();
    for item in select * from horsies.flow_settings(regulated) as s order by s.name collate "C" loop
        next_due_in := least(next_due_in, extract(epoch from horsies.marks_until(item.name, clock) - clock));
        heads := horsies.plain_heads(item.name, clock);
        if item.turns <> 'off' then
            promoted := horsies.promote(item.name, item.turns, most_promoted, clock, heads);
            if promoted > 0 and positions ? item.name then      -- a walk may have passed their keys
                positions := jsonb_set(positions, array[item.name], (
                    select jsonb_object_agg(p.key, jsonb_build_object('after', p.value -> 'after'))
                    from jsonb_each(positions -> item.name) as p));
            end if;
            if promoted = most_promoted then                    -- more rows may be due
                next_due_in := 0;
            end if;
            if promoted > 0 and item.turns = 'ending' then      -- it has moved rows back into the common order
                heads := horsies.plain_heads(item.name, clock);
            end if;
        end if;
        heads_of_queues := heads_of_queues || jsonb_build_object(item.name, heads);
        pruned_until := horsies.prune_flow(
            item.name, item.has_holds, positions #>> array[item.name, no_priority, 'after'], clock);
        if pruned_until is distinct from positions #>> array[item.name, no_priority, 'after'] then
            positions := jsonb_set(
                jsonb_set(positions, array[item.name], coalesce(positions -> item.name, '{}')),
                array[item.name, no_priority], jsonb_build_object('after', pruned_until));
        end if;
    end loop;
    plain := plain || array(                        -- those that have become plain in this step
        select r.name from unnest(regulated) as r (name)
        where r.name not in (select s.name from horsies.flow_settings(regulated) as s));
    regulated := array(select s.name from horsies.flow_settings(regulated) as s);

    loop
        select min(head.priority) into at_priority
        from unnest(regulated) as r (name) cross join lateral (
            select h.priority::int from jsonb_object_keys(heads_of_queues -> r.name) as h (priority)
            where h.priority::int > reached
            union all
            select t.priority from horsies.turn_head(r.name, reached, clock) as t
        ) as head;
        plain_until := case when at_priority is null then lowest
                            when exchange % 2 = 0 then at_priority else at_priority - 1 end;
        sources := case when cardinality(plain) > 0 and plain_until > plain_reached then array[''] else '{}' end
                   || case when at_priority is not null then regulated else '{}' end;
        foreach source in array sources loop
            continue when still_wanted <= 0;
            for item in
                select o.*, null::json as cursors
                from horsies.claim_in_order(
                    claiming_worker, exchange, still_wanted, still_free, null, plain, known_names, singly, true,
                    plain_reached, plain_until, false) as o
                where source = ''
                union all
                select r.*
                from horsies.claim_from_queue(
                    claiming_worker, exchange, still_wanted, still_free, source, at_priority, known_names, singly,
                    clock, (positions #> array[source, at_priority::text])::json,
                    (heads_of_queues #>> array[source, at_priority::text])::timestamptz) as r
                where source <> ''
            loop
                if item.id is null then
                    next_due_in := least(next_due_in, item.due_in);
                    if item.cursors is not null then
                        positions := jsonb_set(
                            jsonb_set(positions, array[source], coalesce(positions -> source, '{}')),
                            array[source, at_priority::text], item.cursors::jsonb);
                    end if;
                    continue;
                end if;
                still_wanted := still_wanted - 1;
                still_free := still_free - 1;
                id := item.id; task_name := item.task_name; args := item.args; attempt := item.attempt;
                timeout_ms := item.timeout_ms; queue := item.queue; capped := item.capped; root_id := item.root_id;
                inputs := item.inputs; trace_context := item.trace_context; due_in := item.due_in; cursors := null;
                return next;
            end loop;
        end loop;
        exit when at_priority is null or still_wanted <= 0;
        reached := at_priority;
        plain_reached := greatest(plain_reached, plain_until);
    end loop;
    return query select null::uuid, null::text, null::json, null::int, null::int, null::text, true, null::uuid,
                        null::json, null::json, next_due_in, positions::json;
end
$function$;
