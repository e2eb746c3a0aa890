-- Tells whether the schema and its function exist, and where: the name of the database, the server's host (null over a
-- Unix socket), its port, and the folders of its sockets (null if the user may not see them, because pg_settings
-- leaves out such settings). It does not fail if anything is missing.
select to_regprocedure('{horsies}.database_identity()') is not null, current_database()::text,
       host(inet_server_addr()), current_setting('port'),
       (select s.setting from pg_catalog.pg_settings s where s.name = 'unix_socket_directories')
