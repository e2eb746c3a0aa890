-- For a connection to a database whose times have another style by default: psycopg reads them in this one only.
select set_config('datestyle', 'ISO', false)
