-- For databases with another default style of times: psycopg reads only the ISO style.
select pg_catalog.set_config('datestyle', 'ISO', false)
