-- Limits the wait for the lock of migrations, in the transaction that takes it.
select pg_catalog.set_config('lock_timeout', %s, true)
