-- Waits until no other process makes the template of a test run.
select pg_advisory_lock(%s)
