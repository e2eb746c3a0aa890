-- The settings of every session of horsies, whatever the defaults of the server, the database or the role are. A
-- setting that this release of PostgreSQL does not have is left out. Parameters: whether the settings last for the
-- transaction only (where a pooler shares sessions between clients), and the limit of a statement in milliseconds.
select pg_catalog.set_config(wanted.name, wanted.value, %s::boolean)
from (values
    -- A statement has to see what was committed before it began; see `need_read_committed`.
    ('default_transaction_isolation', 'read committed'),
    -- Null elements of arrays are written as null; if this is off, the server reads them as the text "null".
    ('array_nulls', 'on'),
    -- psycopg reads only these styles of times and intervals, and it reads times fastest in UTC.
    ('DateStyle', 'ISO, MDY'),
    ('IntervalStyle', 'postgres'),
    ('TimeZone', 'UTC'),
    -- Numbers come back as they were written.
    ('extra_float_digits', '1'),
    -- psycopg quotes literals for the standard.
    ('standard_conforming_strings', 'on'),
    -- A statement that fails must not end the session, in which other statements follow.
    ('exit_on_error', 'off'),
    -- The server functions are written for the rules that PL/pgSQL has by default.
    ('plpgsql.extra_errors', 'none'),
    -- How long a call may block is decided for each call and not for the database; a lock is waited for as long.
    ('statement_timeout', %s),
    ('lock_timeout', '0'),
    ('transaction_timeout', '0'),
    -- A process that was stopped in a transaction must not keep its locks.
    ('idle_in_transaction_session_timeout', '60s'),
    -- Connections that listen, those of pools, and that of heartbeats are idle between two uses.
    ('idle_session_timeout', '0')
) as wanted (name, value)
where pg_catalog.current_setting(wanted.name, true) is not null
