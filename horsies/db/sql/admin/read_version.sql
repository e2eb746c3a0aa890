select version, functions_hash, library_version from horsies.schema_version
