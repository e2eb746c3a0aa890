-- Rolls the transaction of a transactional task back, and releases its advisory locks, in one message.
rollback;
select pg_catalog.pg_advisory_unlock_all();
