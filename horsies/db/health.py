"""Checks of a database in use: drift of its schema, and the delivery of notices."""

import re
import time
from dataclasses import dataclass
from typing import Any, NamedTuple

import psycopg

from horsies.db import sqlfiles
from horsies.db.connect import Database
from horsies.db.functions import body
from horsies.db.queries import worker as worker_queries
from horsies.db.rights import fixed_path
from horsies.db.sqlfiles import admin, channel, listen

_CHANGE = re.compile(
    r"\bdrop (?:index|constraint)\s+(?:if exists\s+)?(?:horsies\.)?(?P<dropped>\w+)"
    r"|\balter index\s+(?:horsies\.)?(?P<old>\w+)\s+rename to\s+(?P<new>\w+)"
    r"|\b(?P<kind>index|constraint)\s+(?:if not exists\s+)?(?P<made>\w+)\s+(?:on|check|unique)\b"
)

type Connection = psycopg.Connection[tuple[Any, ...]]


def drift(connection: Connection, schema: str) -> list[str]:
    """List the functions, views, indexes and constraints with names that differ from the SQL files of this version."""
    with fixed_path(connection):
        objects: list[tuple[str, str, str]] = connection.execute(
            admin("objects").encode(), {"schema": schema}
        ).fetchall()
    found = {(kind, name) for kind, name, _ in objects}
    bodies = {(name, source) for kind, name, source in objects if kind == "function"}  # users may add overloads
    differing = [
        f"function {name}" for name, sql in sqlfiles.functions().items() if (name, body(sql, schema)) not in bodies
    ]
    expected = {("view", name) for name in sqlfiles.views()} | _expected()
    return [*differing, *sorted(f"{kind} {name}" for kind, name in expected if (kind, name) not in found)]


def _expected() -> set[tuple[str, str]]:
    """Return kind and name of each index and named constraint that there is after the last migration."""
    made: dict[str, str] = {}
    for _, sql in sorted(sqlfiles.migrations().items()):
        for match in _CHANGE.finditer(sql):
            if match["dropped"]:
                made.pop(match["dropped"], None)
            elif match["old"]:
                made[match["new"]] = made.pop(match["old"])
            else:
                made[match["made"]] = match["kind"]
    return {(kind, name) for name, kind in made.items()}


class OldestSnapshot(NamedTuple):
    """The oldest transaction that prevents the removal of dead rows.

    Attributes:
        seconds: its age; None: there is none, or the role may not see it.
        description: its process and its user.
        sees_all: whether the role of the connection may see the transactions of all roles.
    """

    seconds: float | None
    description: str | None
    sees_all: bool


def oldest_snapshot(connection: Connection) -> OldestSnapshot:
    """Find the oldest transaction that prevents the removal of dead rows, as far as the role may see it."""
    with fixed_path(connection):
        [row] = connection.execute(admin("oldest_snapshot").encode()).fetchall()
        return OldestSnapshot(*row)


def notice_seconds(database: Database, connection: Connection, timeout_s: float) -> float | None:
    """Measure how many seconds a notice takes between two connections; None: it did not arrive in ``timeout_s``."""
    with database.connect(to_listen=True) as listening:
        listening.execute(listen(channel("wake", database.schema)))
        started = time.perf_counter()
        database.ask(connection, worker_queries.notify_wake())
        for _ in listening.notifies(timeout=timeout_s, stop_after=1):
            return time.perf_counter() - started
    return None


@dataclass(frozen=True, slots=True)
class NotificationQueue:
    """The notification queue of a server.

    Attributes:
        usage: how full it is, from 0 to 1.
        oldest: the sessions with the oldest open transactions, with their age in seconds. If such a session listens, it
            keeps the queue from being emptied.
    """

    usage: float
    oldest: list[tuple[str, float]]


def notification_queue(connection: Connection) -> NotificationQueue:
    """Look at the notification queue. If nobody holds it up any more, it is emptied by this look."""
    row = connection.execute(admin("notification_queue_usage").encode()).fetchone()
    oldest = connection.execute(admin("oldest_transactions").encode()).fetchall()
    return NotificationQueue(row[0] if row else 0.0, [(name, age) for name, age in oldest])
