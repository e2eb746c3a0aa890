-- Whether the clock of tasks is that of tests, and was made after the last migration of the schema.
select exists (
    select from pg_proc p
    where p.pronamespace = to_regnamespace('{horsies}') and p.proname = 'now' and starts_with(p.prosrc, %s)
)
