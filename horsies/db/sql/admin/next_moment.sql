-- The next time after the clock at which a task of these names falls due or expires, a rate or a hold lets waiting
-- tasks start, or one of these schedules is due; null: there is none until the given time. And whether there is none,
-- and no task is due already.
with clock as (select horsies.now() as at),
next as (
    select min(moment.at) as at
    from clock
    cross join lateral (
        select t.run_at from horsies.tasks t
        where t.status = 'PENDING' and not t.held and t.task_name = any (%(names)s) and t.run_at > clock.at
        union all
        select t.good_until from horsies.tasks t where t.status in ('PENDING', 'CLAIMED') and t.good_until > clock.at
        union all
        select s.next_run_at from horsies.schedules s
        where s.name = any (%(schedules)s) and not s.paused and s.next_run_at > clock.at
        union all
        select h.until from horsies.holds h
        where h.until > clock.at and exists (
            select from horsies.tasks t
            where t.status = 'PENDING' and t.queue = h.queue
              and (h.scope = 'queue' or coalesce(t.task_key, '') = h.key))
        union all
        select horsies.tokens_due(b.used_to, rate.produced, rate.full_from, rate.token_us, rate.burst, clock.at)
        from horsies.rates r
        join horsies.buckets b on b.queue = r.queue and b.scope = r.scope
        cross join lateral horsies.rate_at(r.queue, r.scope, clock.at) as rate
        where horsies.tokens_left(b.used_to, rate.produced, rate.full_from) = 0 and exists (
            select from horsies.tasks t
            where t.status = 'PENDING' and t.queue = b.queue
              and (b.scope = 'queue' or coalesce(t.task_key, '') = b.key))
    ) as moment (at)
    where moment.at <= %(until)s
)
select next.at,
       next.at is null
       and not exists (select from horsies.tasks t
                       where t.status = 'PENDING' and t.task_name = any (%(names)s) and t.run_at <= clock.at)
       and not exists (select from horsies.schedules s
                       where s.name = any (%(schedules)s) and not s.paused and s.next_run_at <= clock.at)
from clock, next
