-- A change of a rate writes one row, however many buckets there are.

-- The rates that are in effect, of queues and of each of their keys. A rate produces a stream of tokens, which is
-- numbered from 0 and measured in billionths of a token. All buckets of a scope read the same stream: a bucket stores
-- the position `used_to` up to which it has used tokens, and holds those after it, at most the last `burst` ones. A row
-- without a rate (`token_us` null) belongs to buckets that maintenance deletes.
create table horsies.rates (
    queue text not null,
    scope text not null constraint rate_scope_is_known check (scope in ('queue', 'key')),
    token_us bigint constraint token_us_is_positive check (token_us >= 1),     -- microseconds per token
    burst int constraint burst_belongs_to_a_rate check ((burst is null) = (token_us is null)),
    changed_at timestamptz not null,                    -- when the rate was changed last
    produced numeric not null,                          -- the length of the stream at that time
    lost_to numeric not null,                           -- before this position, no bucket has tokens any more
    primary key (queue, scope)
);

-- A bucket was the time at which it would be full. Of full ones, and of those without a rate, nothing is kept.
insert into horsies.rates (queue, scope, token_us, burst, changed_at, produced, lost_to)
select q.name, s.scope,
       ceil(1000000 * (s.rate ->> 'per_seconds')::numeric / (s.rate ->> 'limit')::numeric)::bigint,
       (s.rate ->> 'burst')::int, clock_timestamp(), 0, -1000000000::numeric * (s.rate ->> 'burst')::int
from horsies.queues q
cross join lateral (values
    ('queue', case when 'rate' <> all (q.lifted_limits) then coalesce(q.rate_limit, q.declared_rate) end),
    ('key', case when q.turns = 'on' and 'rate_per_key' <> all (q.lifted_limits)
                 then coalesce(q.rate_limit_per_key, q.declared_rate_per_key) end)
) as s (scope, rate)
where s.rate is not null;
alter table horsies.buckets add column used_to numeric;
update horsies.buckets b
set used_to = r.lost_to - div(
        -1000000000::numeric * round(extract(epoch from b.full_at - r.changed_at) * 1000000)::bigint, r.token_us)
from horsies.rates r
where r.queue = b.queue and r.scope = b.scope and b.full_at > r.changed_at;
delete from horsies.buckets b where b.used_to is null;
alter table horsies.buckets alter column used_to set not null, drop column full_at;
