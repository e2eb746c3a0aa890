-- Drops a database.
drop database if exists {name}{force}
