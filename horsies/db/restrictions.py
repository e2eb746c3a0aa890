"""Settings and limits of a server, a database or a role that restrict what its clients can do."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import psycopg

from horsies.db.sqlfiles import admin
from horsies.rendering import printable

WORKER_CONNECTIONS = 5
"""The connections of a worker: two for exchanges, and one each for heartbeats, notices and maintenance."""

SCHEDULER_CONNECTIONS = 1
"""The further connection of a worker that runs schedules."""


class Restriction(NamedTuple):
    """One restriction.

    Attributes:
        found: a description of the restriction and of its consequences.
        fix: how to remove it; None: horsies works in spite of it.
    """

    found: str
    fix: str | None


def find_restrictions(connection: psycopg.Connection[Any], *, with_scheduler: bool) -> list[Restriction]:
    """Find what restricts the user of a connection.

    Args:
        connection: to the database of the app.
        with_scheduler: whether a worker of the app also runs schedules.
    """
    row = connection.execute(admin("restrictions").encode()).fetchone()
    if row is None:
        return []
    role, of_role, of_database, of_server, isolation, is_read_only = row
    limits = [(of_role, f"the user {printable(role)!r}"), (of_database, "the database"), (of_server, "the server")]
    most, whose = min((each for each in limits if each[0] is not None), key=lambda each: each[0])
    return [
        *_connections(most, whose, WORKER_CONNECTIONS + (SCHEDULER_CONNECTIONS if with_scheduler else 0)),
        *_transactions(isolation, is_read_only=is_read_only),
    ]


def _connections(most: int, whose: str, needed: int) -> Iterator[Restriction]:
    if most < needed + 1:
        found = (
            f"{whose} may have {most} connections; a worker opens up to {needed}, and a program that sends tasks at "
            "least one. A worker that gets fewer shares them, and polls instead of listening"
        )
        yield Restriction(
            found, "raise the limit: alter role … connection limit …, or alter database …, or max_connections"
        )


def _transactions(isolation: str, *, is_read_only: bool) -> Iterator[Restriction]:
    if is_read_only:
        found = "transactions are read-only by default, so nothing can be sent or run"
        yield Restriction(found, "run: alter database … reset default_transaction_read_only (or: alter role …)")
    if isolation not in {"read committed", "read uncommitted"}:
        yield Restriction(
            f"transactions are {isolation.upper()} by default. Connections of horsies use READ COMMITTED; your own "
            "transactions have to, where you repeat a send or start a workflow with connection=",
            None,
        )
