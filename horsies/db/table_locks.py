"""Changing tables while others use them: short waits for locks, repeated until they succeed or time is up."""

import re
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import psycopg
from psycopg import errors

from horsies.db.rights import fixed_path
from horsies.db.sqlfiles import admin
from horsies.rendering import printable

LOCK_WAIT_S = 10.0
"""How long a process of an app tries to change tables that other sessions have locked, in seconds."""

_PAUSE_S = 1.0
_NAME = re.compile(r"\bhorsies\.(\w+)")

type Connection = psycopg.Connection[Any]


class TablesLockedError(TimeoutError):
    """Other sessions hold locks on tables that a migration has to change. The same call may succeed later."""


class _Blocker(NamedTuple):
    """The oldest transaction that holds a lock on one of the tables. None: the role may not see it."""

    pid: int | None
    application: str | None
    user: str | None
    state: str | None
    seconds: float | None
    prepared: str | None

    def describe(self) -> str:
        """Describe the session and how to end it, with text from the server escaped."""
        age = "" if self.seconds is None else f", its transaction began {self.seconds:.0f} s ago"
        if self.pid is None:
            return f"the prepared transaction {printable(repr(self.prepared))}{age}; commit it or roll it back"
        shown = f"application {self.application or ''!r}, user {self.user or ''!r}, {self.state or 'state not visible'}"
        fix = f"wait for it, or end it: select pg_terminate_backend({self.pid})"
        return f"that of process {self.pid} ({printable(shown)}{age}); {fix}"


def retry_while_locked[R](
    change: Callable[[], R], connection: Connection, schema: str, sql: Iterable[str], wait_s: float
) -> R:
    """Repeat a change of tables while it fails because other sessions hold locks on them.

    A statement that waits for an exclusive lock makes every later user of the table wait behind it. So each try gives
    up a lock after 200 ms (``limit_lock_waits.sql``), the whole transaction is rolled back, and a pause lets claims and
    sends pass before the next try.

    Args:
        change: the change, in a separate transaction.
        connection: finds the blocking session afterwards.
        schema: the name of the schema.
        sql: the statements of the change, written for the schema ``horsies``. The tables are taken from them.
        wait_s: for how long to try, in seconds.

    Raises:
        TablesLockedError: the time is up. The message names the blocking session.
    """
    give_up_at = time.monotonic() + wait_s
    while True:
        try:
            return change()
        except errors.LockNotAvailable as error:
            if time.monotonic() + _PAUSE_S > give_up_at:
                raise _tables_locked(connection, schema, sql, wait_s) from error
        time.sleep(_PAUSE_S)


def _tables_locked(connection: Connection, schema: str, sql: Iterable[str], wait_s: float) -> TablesLockedError:
    wanted = {"schema": schema, "names": sorted({name for text in sql for name in _NAME.findall(text)})}
    with fixed_path(connection):
        row = connection.execute(admin("find_blocker").encode(), wanted).fetchone()
    blocked = (
        f"other sessions have held locks on tables of the schema {schema!r} for {wait_s:.0f} s, so the tables could "
        "not be migrated"
    )
    if row is None:
        return TablesLockedError(f"{blocked}; the locks are released now: run `horsies db migrate` again")
    blocker = _Blocker(*row).describe()
    return TablesLockedError(f"{blocked}; the oldest transaction is {blocker}; then run `horsies db migrate` again")
