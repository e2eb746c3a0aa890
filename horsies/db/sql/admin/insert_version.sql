-- Records the version of tables that had lost it. Their functions are not known, so a migration replaces them.
insert into horsies.schema_version (version, functions_hash, library_version) values (%s, 'unknown', '0')
