-- Begins the transaction of a transactional task, in one message. First, in a separate transaction, it undoes what
-- an earlier attempt may have left in the session: cursors, roles, settings, prepared statements, subscriptions,
-- advisory locks, temporary tables. The local setting `horsies.fence` ends with the transaction, so `finish_own` can
-- tell whether it is still the same one. FENCE stands for the worker, the task and the number of the exchange;
-- CHECK_INTERVAL for the interval at which the server looks whether its client still exists while a statement runs.
begin;
close all;
set session authorization default;
reset role;
reset all;
deallocate all;
unlisten *;
select pg_catalog.pg_advisory_unlock_all();
discard temp;
discard sequences;
commit;
begin isolation level read committed read write not deferrable;
select pg_catalog.set_config(wanted.name, wanted.value, true)
from (values
    ('horsies.fence', 'FENCE'),
    -- A killed child must not leave a statement running. Servers before 14 do not have this setting.
    ('client_connection_check_interval', 'CHECK_INTERVAL'),
    -- A statement that fails must not end the session: the task may have a savepoint.
    ('exit_on_error', 'off'),
    -- The server functions are written for the rules that PL/pgSQL has by default.
    ('plpgsql.extra_errors', 'none')
) as wanted (name, value)
where pg_catalog.current_setting(wanted.name, true) is not null or wanted.name = 'horsies.fence';
