-- Ends the sessions of a database.
select pg_terminate_backend(a.pid) from pg_stat_activity a where a.datname = %s
