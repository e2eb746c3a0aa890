-- For the connections of producers: no statement blocks them for longer.
set statement_timeout = '30s'
