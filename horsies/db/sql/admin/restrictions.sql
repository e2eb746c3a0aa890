-- What restricts the sessions of this user in this database: the largest number of connections of the user and of the
-- database (null: unlimited; superusers are exempt) and of the server, and defaults of the settings of transactions.
select r.rolname::text,
       case when not r.rolsuper and r.rolconnlimit >= 0 then r.rolconnlimit end,
       case when not r.rolsuper and d.datconnlimit >= 0 then d.datconnlimit end,
       pg_catalog.current_setting('max_connections')::int,
       (select s.reset_val from pg_catalog.pg_settings s where s.name = 'default_transaction_isolation'),
       (select s.reset_val from pg_catalog.pg_settings s where s.name = 'default_transaction_read_only') = 'on'
from pg_catalog.pg_roles r, pg_catalog.pg_database d
where r.rolname = session_user and d.datname = pg_catalog.current_database()
