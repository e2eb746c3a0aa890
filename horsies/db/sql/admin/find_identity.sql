-- Tells whether the schema and its function exist, and where: the name of the database, the server's host (null over a
-- Unix socket), its port, and the folders of its sockets (null if the user may not see them, because pg_settings
-- leaves out such settings). It does not fail if anything is missing.
-- All names are qualified, because it runs with the search path of a caller's session.
select pg_catalog.to_regprocedure('{horsies}.database_identity()') is not null,
       pg_catalog.current_database()::pg_catalog.text, pg_catalog.host(pg_catalog.inet_server_addr()),
       pg_catalog.current_setting('port'),
       (select s.setting from pg_catalog.pg_settings s
        where s.name operator(pg_catalog.=) 'unix_socket_directories'::pg_catalog.text)
