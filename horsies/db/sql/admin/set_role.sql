-- For the rest of the transaction: create objects as another role.
select set_config('role', %s, true)
