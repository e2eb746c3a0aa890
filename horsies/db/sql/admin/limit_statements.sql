-- Limits the time for which a statement can block a producer.
select pg_catalog.set_config('statement_timeout', '30s', false)
