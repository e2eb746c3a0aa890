"""A separate database for each test, cloned from a template that is migrated once per run."""

import os
import uuid
from collections.abc import Generator, Mapping
from contextlib import contextmanager

import psycopg
from psycopg.sql import SQL, Composed, Identifier

from horsies.db.migrate import migrate
from tests.support import roles
from tests.support.server import Server, drop_database, run_name
from tests.support.sessions import SCHEMA

_LOCK_KEY = 4712
SETTINGS_VARIABLE = "HORSIES_TEST_SETTINGS"
"""With the value ``odd``, every database of a test has `ODD_SETTINGS`."""

ODD_SETTINGS = {
    "default_transaction_isolation": "serializable",
    "array_nulls": "off",
    "datestyle": "'SQL, DMY'",
    "intervalstyle": "sql_standard",
    "timezone": "'<+1245>-12:45'",
    "extra_float_digits": "-10",
    "client_encoding": "latin1",
    "standard_conforming_strings": "off",
    "plpgsql.extra_errors": "'all'",
    "exit_on_error": "on",
    "statement_timeout": "300",
    "lock_timeout": "50",
    "transaction_timeout": "700",
    "idle_in_transaction_session_timeout": "200",
    "idle_session_timeout": "900",
}
"""Settings that somebody may have made for other programs, and that must not matter."""

_TEMPLATE = "_template"
_HAS_LOCALE_PROVIDERS = _HAS_STRATEGIES = 15_00_00


def migrated_template(server: Server) -> str:
    """Return the name of the run's template database. The first process that needs it creates it."""
    name = f"{run_name()}{_TEMPLATE}"
    with server.connect() as session:
        session.execute("select pg_advisory_lock(%s)", (_LOCK_KEY,))
        if session.execute("select from pg_database where datname = %s", (name,)).fetchone() is None:
            unfinished = f"{name}_unfinished"
            drop_database(session, unfinished)
            session.execute(f"create database {unfinished} template template0".encode())
            with psycopg.connect(server.database_url(unfinished), autocommit=True) as inside:
                if roles.HAS_ROLES:
                    roles.create_roles(inside)
                migrate(inside, SCHEMA)
                if roles.HAS_ROLES:
                    roles.grant_roles(inside)
            session.execute(f"alter database {unfinished} rename to {name}".encode())
    return name


@contextmanager
def new_database(
    server: Server, template: str = "template0", *, suffix: str = "", encoding: str | None = None
) -> Generator[str]:
    """Create a database, and drop it at the end. Yield its URL.

    Its name ends with ``suffix``. If an encoding is given, its locale is C.

    All files of the template are copied, as in PostgreSQL before 15, and not block by block through its buffers. That
    takes half of the processor time, and with the files comes the cache of the catalog, which the first session of
    the new database would otherwise have to build.
    """
    name = f"{run_name()}_{uuid.uuid4().hex[:10]}{suffix}"
    with server.connect() as session:
        version = session.info.server_version
        options = SQL("") if encoding is None else _encoded(encoding, version)
        copying = SQL("strategy file_copy" if version >= _HAS_STRATEGIES else "")
        create = SQL("create database {} template {} {} {}")
        session.execute(create.format(Identifier(name), Identifier(template), options, copying))
    url = server.database_url(name)
    if template.endswith(_TEMPLATE):
        roles.have_rights(name)
    if os.environ.get(SETTINGS_VARIABLE) == "odd":
        set_for_all(url, ODD_SETTINGS)
    yield url
    with server.connect() as session:
        drop_database(session, name)


def _encoded(encoding: str, server_version: int) -> Composed:
    provider = SQL("locale_provider libc" if server_version >= _HAS_LOCALE_PROVIDERS else "")
    return SQL("encoding {} lc_collate 'C' lc_ctype 'C' {}").format(encoding, provider)


def set_for_all(url: str, settings: Mapping[str, str]) -> None:
    """Give all later sessions of a database settings, except those that the server does not have."""
    with psycopg.connect(url, autocommit=True) as session:
        for name, value in settings.items():
            if session.execute("select current_setting(%s, true) is not null", (name,)).fetchone() != (True,):
                continue
            statement = SQL("alter database {} set {} = {}")
            names = SQL(".").join(map(Identifier, name.split(".")))
            session.execute(statement.format(Identifier(session.info.dbname), names, SQL(value)))
