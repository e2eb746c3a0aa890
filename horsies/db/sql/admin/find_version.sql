select to_regclass('{horsies}.schema_version') is not null
