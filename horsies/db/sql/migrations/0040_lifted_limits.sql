-- Limits that an operator has lifted at run time: the queue has none of these, whatever the app declares. A limit that
-- is neither lifted nor set at run time is the declared one.
alter table horsies.queues
    add column lifted_limits text[] not null default '{}'
        constraint lifted_limits_are_known check (lifted_limits <@ array['per_key', 'rate', 'rate_per_key']);
