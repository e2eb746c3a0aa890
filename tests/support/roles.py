"""Roles of the test server, sessions that act as one of them, and runs in which each process has its own role.

With ``HORSIES_TEST_ROLES=1``, an owner who cannot log in owns the schema. Workers and schedulers connect as a role with
the rights of a worker, producers as a producer, and commands that look and control as an operator. Each of them has
the rights that `horsies db grant` gives it, and no more. Sessions of the tests themselves stay superusers.
"""

import os
import uuid
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from urllib.parse import urlsplit

import psycopg
from psycopg.sql import SQL, Identifier

from horsies.db.rights import Kind, fixed_path, grant_sql
from tests.support.server import PASSWORD, database_name, run_name
from tests.support.sessions import SCHEMA, Session

ROLES_VARIABLE = "HORSIES_TEST_ROLES"
HAS_ROLES = os.environ.get(ROLES_VARIABLE) == "1"
_OWNER = "owner"
_KINDS = {
    "producer": [Kind.PRODUCER],
    "worker": [Kind.WORKER],
    "operator": [Kind.OPERATOR, Kind.ARGUMENTS],
}
_COMMANDS = {"worker": "worker", "scheduler": "worker", "check": "worker", "send": "producer"}
_OF_THE_OWNER = ("db", "dev")
_granted: set[str] = set()


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


def _name(role: str) -> str:
    return f"{run_name()}_{role}"


def create_roles(session: psycopg.Connection) -> None:
    """Create the roles of the run, and continue as the owner, with the right to create a schema in this database."""
    session.execute(SQL("create role {}").format(Identifier(_name(_OWNER))))
    for role in _KINDS:
        create = SQL("create role {} login password {}")
        session.execute(create.format(Identifier(_name(role)), PASSWORD))
    grant = SQL("grant create on database {} to {}")
    session.execute(grant.format(Identifier(session.info.dbname), Identifier(_name(_OWNER))))
    session.execute(SQL("set role {}").format(Identifier(_name(_OWNER))))


def grant_roles(session: psycopg.Connection) -> None:
    """Give the roles of the run their rights in the schema, which was migrated."""
    for role, kinds in _KINDS.items():
        with fixed_path(session):
            session.execute(grant_sql(SCHEMA, _name(role), kinds).encode())


def have_rights(database: str) -> None:
    """Remember that the roles have their rights in a database, which was cloned from the template."""
    _granted.add(database)


def as_role(url: str, role: str) -> str:
    """The URL for one of the roles; unchanged without roles, and for databases in which the roles have no rights."""
    if not HAS_ROLES or database_name(url) not in _granted:
        return url
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{_name(role)}:{PASSWORD}@{place}").geturl()


def with_role(args: Sequence[str], env: Mapping[str, str]) -> dict[str, str]:
    """The environment of ``horsies ARGS…``, with URLs for the role that runs such a command."""
    command = args[0] if args else ""
    role = _COMMANDS.get(command, "operator")
    is_owner = command in _OF_THE_OWNER
    return {
        name: as_role(value, role) if value.startswith("postgres") and not is_owner else value
        for name, value in env.items()
    }
