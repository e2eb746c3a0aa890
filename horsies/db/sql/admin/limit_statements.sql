-- For the connections of producers: no statement blocks them for longer, and times come in the style psycopg reads.
select set_config('statement_timeout', '30s', false), set_config('datestyle', 'ISO', false)
