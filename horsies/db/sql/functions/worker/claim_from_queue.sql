-- Purpose: Give a worker up to `most` due tasks of one regulated queue and one priority: in turns (`claim_in_turns`),
-- or in the order in which they are due. `free` is how many can start at once; a queue without any limit may get
-- more. Returns the tasks, and then rows without an id: `due_in` is the number of seconds until there may be more to
-- start (null: a finished task may make room), and `cursors` is the next `position` of the queue and priority.
--
-- In the order of due times, rows are read from `first_due` on, the due time of the first one (null: there is none).
-- If the worker does not know the names of most of them, the rows of each known name are read instead, so that a claim
-- never reads all that waits under other names while it holds the lock.
--
-- Planner settings: see docs/architecture.md.
-- Locks: the task rows that are taken, SKIP LOCKED; then rows of buckets. The caller holds the lock of the queue.
-- Called by: claim_regulated.
-- Granted to: nobody.
create function horsies.claim_from_queue(
    claiming_worker uuid, exchange bigint, most int, free int, queue_name text, at_priority int, known_names text[],
    singly boolean, clock timestamptz, "position" json, first_due timestamptz
) returns table (
    id uuid, task_name text, args json, attempt int, timeout_ms int, queue text, capped boolean, root_id uuid,
    inputs json, trace_context json, due_in double precision, cursors json
)
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set enable_sort = off set jit = off set plan_cache_mode = force_generic_plan
as $function$
declare
    most_probes constant int := 500;
    setting record;
    usable record;
    rate record;
    bucket_used_to numeric;
    tokens int;
    held_until timestamptz;
    is_limited boolean;
    most_here int;
    rows_wanted int;
    rows_read int;
    by_name boolean := false;                       -- the search by queue finds mostly names that are not known
    candidates uuid[];
    part int;
    taken int := 0;
    next_due timestamptz;                           -- when the queue has tokens again, or its hold ends
begin
    select s.* into setting from horsies.flow_settings(array[queue_name]) as s;
    select c.* into usable from horsies.claimable(claiming_worker, array[queue_name], free) as c;
    if setting.name is null or usable.name is null then
        return;
    end if;
    select max(h.until) into held_until from horsies.holds h
    where setting.has_holds and h.queue = queue_name and h.scope = 'queue' and h.key = '' and h.until > clock;
    if setting.token_us is not null then
        select b.used_to into bucket_used_to from horsies.buckets b
        where b.queue = queue_name and b.scope = 'queue' and b.key = '';
        select r.* into rate from horsies.rate_at(queue_name, 'queue', clock) as r;
        tokens := horsies.tokens_left(bucket_used_to, rate.produced, rate.full_from);
    end if;
    is_limited := usable.room is not null or setting.has_holds
                  or num_nonnulls(setting.token_us, setting.per_key, setting.key_token_us) > 0;
    most_here := case when held_until is not null then 0
                      else least(most, usable.room, tokens, case when is_limited then free end) end;
    next_due := held_until;
    if next_due is null and tokens = 0 then
        next_due := horsies.tokens_due(
            bucket_used_to, rate.produced, rate.full_from, rate.token_us, rate.burst, clock);
    end if;
    if most_here > 0 and setting.turns = 'on' then
        return query select * from horsies.claim_in_turns(
            claiming_worker, exchange, most_here, queue_name, at_priority, known_names, singly, clock, setting.per_key,
            setting.has_holds, is_limited, "position", most_probes);
        get diagnostics taken = row_count;
        taken := taken - 1;                         -- the last row is no task
    elsif most_here > 0 then
        rows_wanted := most_here + 50;
        clock := horsies.now();                     -- as in `claim_in_turns`
        loop
            if not by_name then
                select array_agg(r.id order by r.run_at, r.id)
                           filter (where r.task_name = any (known_names) and (r.good_until > clock) is not false),
                       count(*)
                into candidates, rows_read
                from (
                    select t.id, t.run_at, t.task_name, t.good_until from horsies.tasks t
                    where t.queue = queue_name and t.priority = at_priority and t.run_at >= first_due
                      and t.run_at <= clock and t.status = 'PENDING' and not t.held and t.turn_key is null
                    order by t.run_at, t.id limit rows_wanted
                ) as r;
                by_name := rows_read >= rows_wanted and coalesce(cardinality(candidates), 0) < most_here - taken;
            end if;
            if by_name then
                select (array_agg(r.id order by r.run_at, r.id) filter (where (r.good_until > clock) is not false)
                       )[:rows_wanted], count(*)
                into candidates, rows_read
                from unnest(known_names) as known (name)
                cross join lateral (
                    select t.id, t.run_at, t.good_until from horsies.tasks t
                    where t.task_name = known.name and t.queue = queue_name and t.priority = at_priority
                      and t.run_at <= clock and t.exchange_no is null and not t.held and t.turn_key is null
                    order by t.run_at, t.id limit rows_wanted
                ) as r;
            end if;
            if candidates is not null then
                return query select tk.*, null::json from horsies.take(
                    claiming_worker, exchange, candidates, most_here - taken, clock, null,
                    case when is_limited then array[queue_name] end, case when is_limited then array[most] end) as tk
                where not singly;
                get diagnostics part = row_count;
                taken := taken + part;
                return query select tk.*, null::json from horsies.take_singly(
                    claiming_worker, exchange, candidates, most_here - taken, clock, null,
                    case when is_limited then array[queue_name] end, case when is_limited then array[most] end) as tk
                where singly;
                get diagnostics part = row_count;
                taken := taken + part;
            end if;
            exit when taken >= most_here or rows_read < rows_wanted;
            rows_wanted := 2 * rows_wanted;
        end loop;
    end if;
    if setting.token_us is not null and taken > 0 then
        clock := horsies.now();
        select r.* into rate from horsies.rate_at(queue_name, 'queue', clock) as r;
        perform horsies.use_tokens(queue_name, 'queue', array[''], array[taken], rate.full_from);
        if taken = tokens then
            select horsies.tokens_due(b.used_to, rate.produced, rate.full_from, rate.token_us, rate.burst, clock)
            into next_due
            from horsies.buckets b where b.queue = queue_name and b.scope = 'queue' and b.key = '';
        end if;
    end if;
    return query select null::uuid, null::text, null::json, null::int, null::int, null::text, true, null::uuid,
                        null::json, null::json,
                        case when next_due is not null then horsies.spread_wait(next_due, clock)
                             else horsies.scheduled_wait(queue_name, at_priority, clock,
                                                        setting.has_holds and setting.turns = 'on') end,
                        null::json;
end
$function$;
