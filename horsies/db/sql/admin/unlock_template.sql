-- Lets other processes use the template of a test run.
select pg_advisory_unlock(%s)
