-- Whether the schema with its function is there, and where that would be: the name of the database, the server's host
-- (null over a Unix socket), its port, and the folders of its sockets (null where the user may not see them, for
-- pg_settings leaves such settings out). It does not fail where anything of this is missing.
select to_regprocedure('{horsies}.database_identity()') is not null, current_database()::text,
       host(inet_server_addr()), current_setting('port'),
       (select s.setting from pg_catalog.pg_settings s where s.name = 'unix_socket_directories')
