-- Renames a database.
alter database {old} rename to {new}
