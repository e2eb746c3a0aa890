-- The oldest transaction that holds a lock on one of these tables (or on the table of one of these indexes, or on a
-- partition of it): its process, application, user and state, its age in seconds, and its name if it is prepared.
with named as (
    select coalesce(i.indrelid, c.oid) as id
    from pg_class c left join pg_index i on i.indexrelid = c.oid
    where c.relnamespace = (select n.oid from pg_namespace n where n.nspname = %(schema)s)
      and c.relname = any (%(names)s::text[])
), locked as (
    select n.id from named n
    union
    select i.inhrelid from pg_inherits i join named n on n.id = i.inhparent
)
select l.pid, a.application_name, a.usename::text, a.state,
       extract(epoch from clock_timestamp() - coalesce(a.xact_start, p.prepared))::float8, p.gid
from pg_locks l
join locked on locked.id = l.relation
left join pg_stat_activity a on a.pid = l.pid
-- A prepared transaction has no process. It holds the lock on its own identifier.
left join pg_locks own on l.pid is null and own.pid is null and own.locktype = 'transactionid'
                      and own.virtualtransaction = l.virtualtransaction
left join pg_prepared_xacts p on p.transaction = own.transactionid
where l.locktype = 'relation' and l.granted and l.pid is distinct from pg_backend_pid()
  and l.database = (select d.oid from pg_database d where d.datname = current_database())
order by coalesce(a.xact_start, p.prepared) nulls last limit 1
