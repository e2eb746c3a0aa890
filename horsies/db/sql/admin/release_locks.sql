-- Releases the advisory locks that a transactional task has taken for its session. Everything else that it has left in
-- the session is undone when the next transaction begins, but a lock would block others until then.
select pg_catalog.pg_advisory_unlock_all()
