-- Values with which the server functions can calculate. A role that may write the tables could otherwise store a row
-- at which every claim, or the recovery of every dead worker, fails. The check of a policy is written for speed,
-- because it is made whenever the row changes: as a JSON path, it takes twice as long. If a policy is wrong in another
-- way, `retry_at` returns that there is no retry.

-- Existing rows first. A policy that cannot be read allows no retry.
update horsies.tasks t set retry_policy = null
where t.retry_policy is not null and (
    case when json_typeof(t.retry_policy) = 'object' then
        (t.retry_policy ->> 'max_retries') ~ '^[0-9]{1,4}$'
        and coalesce(json_typeof(t.retry_policy -> 'codes') = 'array', true)
        and coalesce((t.retry_policy ->> 'intervals')
                     ~ '^\[ *[0-9]{1,7}([.][0-9]*)?( *, *[0-9]{1,7}([.][0-9]*)?)* *\]$', true)
    end) is not true;
update horsies.tasks t
set run_at = least(greatest(t.run_at, '0001-01-02 00:00:00+00'), '9999-12-30 00:00:00+00'),
    attempt = least(t.attempt, 1000000000), worker_deaths = least(greatest(t.worker_deaths, 0), 1000000000)
where t.attempt > 1000000000 or t.worker_deaths not between 0 and 1000000000
   or t.run_at not between '0001-01-02 00:00:00+00' and '9999-12-30 00:00:00+00';
update horsies.workflow_nodes n set retry_policy = null
where n.retry_policy is not null and (
    case when json_typeof(n.retry_policy) = 'object' then
        (n.retry_policy ->> 'max_retries') ~ '^[0-9]{1,4}$'
        and coalesce(json_typeof(n.retry_policy -> 'codes') = 'array', true)
        and coalesce((n.retry_policy ->> 'intervals')
                     ~ '^\[ *[0-9]{1,7}([.][0-9]*)?( *, *[0-9]{1,7}([.][0-9]*)?)* *\]$', true)
    end) is not true;
update horsies.workflow_nodes n
set priority = least(greatest(n.priority, 1), 100), timeout_ms = greatest(n.timeout_ms, 100)
where n.priority not between 1 and 100 or n.timeout_ms < 100;
update horsies.workers w set stale_after = '1 year' where w.stale_after > '1 year';

-- NOT VALID needs the lock of the table for a moment only; `migrate` validates in separate transactions.
alter table horsies.tasks
    add constraint run_at_is_a_date check (run_at between '0001-01-02 00:00:00+00' and '9999-12-30 00:00:00+00')
        not valid,
    add constraint attempt_has_a_successor check (attempt <= 1000000000) not valid,
    add constraint worker_deaths_count_up_from_0 check (worker_deaths between 0 and 1000000000) not valid,
    add constraint retry_policy_is_readable check (retry_policy is null or (
        case when json_typeof(retry_policy) = 'object' then
            (retry_policy ->> 'max_retries') ~ '^[0-9]{1,4}$'
            and coalesce(json_typeof(retry_policy -> 'codes') = 'array', true)
            and coalesce((retry_policy ->> 'intervals')
                         ~ '^\[ *[0-9]{1,7}([.][0-9]*)?( *, *[0-9]{1,7}([.][0-9]*)?)* *\]$', true)
        end) is true) not valid;
-- A node becomes a task in the transaction that ends another one, which must not fail.
alter table horsies.workflow_nodes
    add constraint node_priority_is_from_1_to_100 check (priority between 1 and 100) not valid,
    add constraint node_timeout_is_at_least_100_ms check (timeout_ms >= 100) not valid,
    add constraint node_retry_policy_is_readable check (retry_policy is null or (
        case when json_typeof(retry_policy) = 'object' then
            (retry_policy ->> 'max_retries') ~ '^[0-9]{1,4}$'
            and coalesce(json_typeof(retry_policy -> 'codes') = 'array', true)
            and coalesce((retry_policy ->> 'intervals')
                         ~ '^\[ *[0-9]{1,7}([.][0-9]*)?( *, *[0-9]{1,7}([.][0-9]*)?)* *\]$', true)
        end) is true) not valid;
alter table horsies.workers
    add constraint stale_after_is_at_most_a_year check (stale_after <= '1 year') not valid;
