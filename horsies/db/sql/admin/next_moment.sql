-- The next time after the clock at which a task of these names falls due or expires, or one of these schedules is due;
-- null if there is none until the given time. And whether there is none, and no task is due already.
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
