-- The oldest open or prepared transaction that prevents the removal of dead rows: its age in seconds, a description,
-- and whether the current role may see the transactions of all roles. This is not a server function, because those
-- run as the owner of the schema, who may see less than the role that asks. The transaction of a scheduler does not
-- count, because `schedule_lead` takes a new snapshot twice a second.
select extract(epoch from clock_timestamp() - held.since)::float8, held.what,
       pg_has_role('pg_read_all_stats', 'usage') as sees_all
from (select) as always
left join lateral (
    select found.since, found.what
    from (
        select a.xact_start, format('process %s (%s, user %s, %s)', a.pid, a.application_name, a.usename, a.state)
        from pg_stat_activity a
        where (a.backend_xmin is not null or a.backend_xid is not null) and a.pid <> pg_backend_pid()
          and a.datname = current_database() and a.backend_type = 'client backend'
          and not (a.backend_xid is null and a.query like '%.schedule_lead(%')
        union all
        select p.prepared, format('prepared transaction %L', p.gid)
        from pg_prepared_xacts p where p.database = current_database()
    ) as found (since, what)
    where found.since is not null
    order by found.since limit 1
) as held on true
