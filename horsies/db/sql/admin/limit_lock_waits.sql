-- For the rest of the transaction: do not wait for a lock longer than this. Every statement that needs the same
-- table, such as a claim, waits behind a statement that waits for an exclusive lock.
select set_config('lock_timeout', '200ms', true)
