-- Clones a database.
create database {name} template {template}{strategy}
