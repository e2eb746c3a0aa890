-- Lists the sessions of the whole server whose transactions are the oldest. A session that listens, and whose
-- transaction stays open, keeps the notification queue of the server from being emptied.
select format('process %s (%s, user %s, database %s, %s)', a.pid, a.application_name, a.usename, a.datname, a.state),
       extract(epoch from clock_timestamp() - a.xact_start)::double precision
from pg_stat_activity a
where a.xact_start is not null and a.pid <> pg_backend_pid() and a.backend_type = 'client backend'
order by a.xact_start limit 3
