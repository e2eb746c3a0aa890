"""Roles of the test server, and sessions that act as one of them."""

import uuid
from collections.abc import Generator
from contextlib import contextmanager

import psycopg
from psycopg.sql import SQL, Identifier

from tests.support.sessions import Session


@contextmanager
def new_role(session: Session, suffix: str = "") -> Generator[str]:
    """A role without any rights, dropped in the end. Its name ends with ``suffix``."""
    name = f"hrs_role_{uuid.uuid4().hex[:10]}{suffix}"
    session.execute(SQL("create role {}").format(Identifier(name)))
    yield name
    session.execute(b"reset role")
    session.execute(SQL("drop owned by {}").format(Identifier(name)))
    session.execute(SQL("drop role {}").format(Identifier(name)))


@contextmanager
def acting_as(session: psycopg.Connection, role: str) -> Generator[None]:
    """Give the session the rights of a role for a while."""
    session.execute(SQL("set role {}").format(Identifier(role)))
    try:
        yield
    finally:
        session.execute(b"reset role")
