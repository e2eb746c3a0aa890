-- Identifies the attempt to which the open transaction belongs; see `begin_own.sql`.
select pg_catalog.set_config('horsies.fence', %s, true)
