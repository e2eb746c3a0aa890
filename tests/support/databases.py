"""A database of its own for each test, cloned from a template that is migrated once a run."""

import uuid
from collections.abc import Generator
from contextlib import contextmanager

import psycopg

from horsies.db.migrate import migrate
from horsies.db.sqlfiles import DEFAULT_SCHEMA
from tests.support.server import Server, drop_database, run_name

_LOCK_KEY = 4712


def migrated_template(server: Server) -> str:
    """The name of the run's template; made by the first process that asks for it."""
    name = f"{run_name()}_template"
    with server.connect() as session:
        session.execute("select pg_advisory_lock(%s)", (_LOCK_KEY,))
        if session.execute("select from pg_database where datname = %s", (name,)).fetchone() is None:
            unfinished = f"{name}_unfinished"
            drop_database(session, unfinished)
            session.execute(f"create database {unfinished} template template0".encode())
            with psycopg.connect(server.database_url(unfinished), autocommit=True) as inside:
                migrate(inside, DEFAULT_SCHEMA)
            session.execute(f"alter database {unfinished} rename to {name}".encode())
    return name


@contextmanager
def new_database(server: Server, template: str = "template0") -> Generator[str]:
    """A new database, dropped in the end; its URL."""
    name = f"{run_name()}_{uuid.uuid4().hex[:10]}"
    with server.connect() as session:
        session.execute(f"create database {name} template {template}".encode())
    yield server.database_url(name)
    with server.connect() as session:
        drop_database(session, name)
