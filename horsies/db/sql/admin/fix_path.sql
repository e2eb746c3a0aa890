-- For the rest of the transaction: names mean those of PostgreSQL, whatever other roles have created elsewhere.
select pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true)
