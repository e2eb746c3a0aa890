-- One migration at a time in a database, whatever the schema. The number is 'hors' in ASCII.
select pg_advisory_xact_lock(1752134259), set_config('check_function_bodies', 'off', true)
