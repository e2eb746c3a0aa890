-- Begins the transaction of a transactional task, in one message. First, in a separate transaction, it undoes what
-- an earlier attempt may have left in the session: cursors, roles, settings, prepared statements, subscriptions,
-- advisory locks, temporary tables. The local setting `horsies.fence` ends with the transaction, so `finish_own` can
-- tell whether it is still the same one. FENCE stands for the worker, the task and the number of the exchange;
-- CHECK_INTERVAL for the interval at which the server looks whether its client still exists while a statement runs.
-- Every statement is one that the server does not have to plan, because this script runs before each attempt.
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
set local horsies.fence = 'FENCE';
-- A statement that fails must not end the session: the task may have a savepoint.
set local exit_on_error = off;
-- The server functions are written for the rules that PL/pgSQL has by default.
set local plpgsql.extra_errors = 'none';
-- A killed child must not leave a statement running. This line is left out for servers before 14.
set local client_connection_check_interval = 'CHECK_INTERVAL';
