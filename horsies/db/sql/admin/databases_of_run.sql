-- The databases whose names begin with a text.
select d.datname::text from pg_database d where starts_with(d.datname::text, %s)
