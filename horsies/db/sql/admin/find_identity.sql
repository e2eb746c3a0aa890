-- Whether the schema with its function is there, and where that would be. It does not fail where they are missing.
select to_regprocedure('{horsies}.database_identity()') is not null, current_database()::text,
       host(inet_server_addr()) || ':' || inet_server_port()
