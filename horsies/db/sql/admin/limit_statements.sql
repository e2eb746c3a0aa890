-- For the connections of producers: no statement blocks them for longer.
select set_config('statement_timeout', '30s', false)
