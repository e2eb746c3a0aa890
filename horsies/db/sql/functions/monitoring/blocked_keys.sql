-- Purpose: List keys of keyed queues of which nothing can start now, each with its first reason in the order of
-- `why_regulated`: 'held_back', 'key_full' or 'rate_limit'; at most `most`. '' is the key of the tasks without one.
-- Locks: none.
-- Called by: waiting_reasons.
-- Granted to: nobody.
create function horsies.blocked_keys(queues text[], clock timestamptz, most int)
returns table (queue text, key text, reason text)
language sql volatile as $function$
    with turning as materialized (
        select s.name, s.per_key, rate.produced, rate.full_from
        from horsies.flow_settings(queues) as s
        left join lateral horsies.rate_at(s.name, 'key', clock) as rate on true
        where s.turns = 'on'
    )
    select b.queue, b.key, case min(b.place) when 1 then 'held_back' when 2 then 'key_full' else 'rate_limit' end
    from (
        (select h.queue, h.key, 1 as place from horsies.holds h join turning r on r.name = h.queue
         where h.scope = 'key' and h.until > clock limit most)
        union all
        (select c.queue, c.key, 2
         from (
             select t.queue, coalesce(t.task_key, '') as key, count(*) as claimed
             from horsies.tasks t
             where t.status <> 'PENDING' and (t.task_key is not null or t.turn_key is not null)
             group by 1, 2
         ) as c join turning r on r.name = c.queue and c.claimed >= r.per_key limit most)
        union all
        (select k.queue, k.key, 4 from horsies.buckets k join turning r on r.name = k.queue
         where k.scope = 'key' and horsies.tokens_left(k.used_to, r.produced, r.full_from) = 0
         limit most)
    ) as b
    group by b.queue, b.key limit most
$function$;
