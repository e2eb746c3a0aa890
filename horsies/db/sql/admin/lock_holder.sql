-- The process that holds the lock of migrations in this database: its id, program and user. See `lock`.
select a.pid, a.application_name, a.usename::text
from pg_catalog.pg_locks l join pg_catalog.pg_stat_activity a on a.pid = l.pid
where l.locktype = 'advisory' and l.granted and l.classid = 0 and l.objid = 1752134259
  and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database())
limit 1
