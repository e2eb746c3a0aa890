-- Lifts the limits of time that a server sets for sessions: the testing kit waits for locks, and clones databases.
select set_config(s.name, '0', false) from pg_settings s
where s.name in ('statement_timeout', 'lock_timeout', 'transaction_timeout', 'idle_session_timeout',
                 'idle_in_transaction_session_timeout')
