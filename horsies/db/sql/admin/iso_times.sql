-- For databases with another default style of times: psycopg reads only the ISO style.
select set_config('datestyle', 'ISO', false)
