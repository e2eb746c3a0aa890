-- Purpose: Explain why the rates, the limits per key and the holds of a queue keep a task from starting now: a
-- `reason` and a sentence. No row: they do not, or the queue is not regulated.
-- Locks: none.
-- Called by: why.
-- Granted to: nobody.
create function horsies.why_regulated(queue_name text, task_key text, clock timestamptz)
returns table (reason text, sentence text)
language plpgsql stable as $function$
declare
    style constant text := 'YYYY-MM-DD HH24:MI:SS "UTC"';
    turn constant text := coalesce(task_key, '');
    named constant text := coalesce('the key ' || to_json(task_key), 'the tasks without a key');
    setting record;
    held record;
    rate record;
    key_rate record;
    used_to numeric;
    key_used_to numeric;
    claimed int := 0;
    fillers text;
begin
    select s.* into setting from horsies.flow_settings(array[queue_name]) as s;
    if not found then
        return;
    end if;
    select h.* into held from horsies.holds h
    where h.queue = queue_name and h.until > clock
      and (h.scope = 'queue' and h.key = '' or setting.turns = 'on' and h.scope = 'key' and h.key = turn)
    order by h.until desc limit 1;
    select r.* into rate from horsies.rate_at(queue_name, 'queue', clock) r;
    select r.* into key_rate from horsies.rate_at(queue_name, 'key', clock) r;
    select b.used_to into used_to from horsies.buckets b
    where b.queue = queue_name and b.scope = 'queue' and b.key = '';
    select b.used_to into key_used_to from horsies.buckets b
    where b.queue = queue_name and b.scope = 'key' and b.key = turn;
    if setting.per_key is not null then
        select count(*), string_agg(c.task_name || ' on ' || c.worker, ', ' order by c.nth) filter (where c.nth <= 3)
        into claimed, fillers
        from (
            select t.task_name, coalesce(w.process_name, 'a dead worker') as worker,
                   row_number() over (order by t.claimed_at) as nth
            from horsies.tasks t left join horsies.workers w on w.id = t.worker_id
            where t.queue = queue_name and t.status <> 'PENDING' and coalesce(t.task_key, '') = turn
              and (t.task_key is not null or t.turn_key is not null)
        ) as c;
    end if;
    return query select found.reason, found.sentence from (values
        (1, held.until is not null, 'held_back', format('%s %s until %s%s%s',
            case held.scope when 'queue' then 'its queue ' || queue_name else named end,
            case held.kind when 'paused' then 'is paused' else 'is held back by a remote limit' end,
            case when isfinite(held.until) then to_char(held.until at time zone 'UTC', style) else 'it is resumed' end,
            case when held.who is not null then ', by ' || held.who else '' end,
            case when held.reason is not null and horsies.sees_arguments() then ': ' || held.reason else '' end)),
        (2, claimed >= setting.per_key, 'key_full', concat_ws(': ', format(
            '%s is full, %s are claimed and the limit is %s', named, claimed, setting.per_key), fillers)),
        (3, horsies.tokens_left(used_to, rate.produced, rate.full_from) = 0, 'rate_limit',
            format('the rate of its queue %s is used up, and the next start is possible at %s', queue_name,
                   to_char(horsies.tokens_due(used_to, rate.produced, rate.full_from, rate.token_us, rate.burst, clock)
                           at time zone 'UTC', style))),
        (4, horsies.tokens_left(key_used_to, key_rate.produced, key_rate.full_from) = 0, 'rate_limit',
            format('the rate of %s is used up, and the next start is possible at %s', named,
                   to_char(horsies.tokens_due(key_used_to, key_rate.produced, key_rate.full_from, key_rate.token_us,
                                              key_rate.burst, clock) at time zone 'UTC', style)))
    ) as found (place, holds, reason, sentence)
    where found.holds order by found.place limit 1;
end
$function$;
