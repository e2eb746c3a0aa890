"""Database sessions for tests: calls as the library makes them, a movable clock, and waiting for locks."""

import os
from collections.abc import Callable
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import Any, Protocol, override

import psycopg
from psycopg.rows import dict_row

from horsies.db.adapt import ADAPT_CONTEXT
from horsies.db.operations import Call
from horsies.db.queries.worker import announce
from horsies.db.sqlfiles import DEFAULT_SCHEMA, admin, bind, channel, listen
from tests.support.waiting import wait_until

type Session = psycopg.Connection[tuple[Any, ...]]
type NewSession = Callable[[], Session]


class InBackground(Protocol):
    """Starts a call in a separate thread."""

    def __call__[R](self, wanted: Callable[[], R], /) -> Future[R]: ...


SCHEMA_VARIABLE = "HORSIES_TEST_SCHEMA"
SCHEMA = os.environ.get(SCHEMA_VARIABLE, DEFAULT_SCHEMA)
"""The schema of this run. ``make test`` runs some end-to-end tests once more in one that needs quoting."""

NOON = datetime(2031, 5, 6, 12, tzinfo=UTC)
"""The time of the clock after `freeze_clock`, an arbitrary one."""

_TEST_SERVER_TIME = """
    create or replace function horsies.server_time() returns timestamptz language sql volatile as $function$
        select horsies.now()
    $function$
"""
_HAS_TEST_CLOCK = "select prosrc like '%%clock c%%' from pg_proc where oid = to_regprocedure('{horsies}.now()')"
_SET_CLOCK = """
    insert into horsies.clock (frozen_at, shift) values (%s, make_interval(secs => %s))
    on conflict (only_row) do update
    set frozen_at = coalesce(excluded.frozen_at, clock.frozen_at), shift = clock.shift + excluded.shift
"""


class _BoundConnection(psycopg.Connection[tuple[Any, ...]]):
    """Executes statements that are written for the default schema in the schema of this run."""

    @override
    def execute(self, query: Any, *args: Any, **kwargs: Any) -> psycopg.Cursor[tuple[Any, ...]]:
        text = query.decode() if isinstance(query, bytes) else query
        return super().execute(bind(text, SCHEMA) if isinstance(text, str) else query, *args, **kwargs)


def open_session(url: str) -> Session:
    """Connect as the library does: autocommit, JSON as bytes. Statements name the schema ``horsies``, as in SQL files."""
    session = _BoundConnection.connect(url, autocommit=True, context=ADAPT_CONTEXT, client_encoding="utf8")
    if os.environ.get("HORSIES_TEST_SETTINGS"):
        session.execute(admin("session_settings"), (False, "60000"))
    return session


def call[R](session: Session, called: Call[R]) -> R:
    """Make a call and decode its answer. What it has recorded to be announced is announced."""
    answer = called.decode(session.execute(bind(called.sql, SCHEMA), called.params).fetchall())
    if called.hint == announce():
        session.execute(bind(called.hint.sql, SCHEMA))
    return answer


def scalar(session: Session, sql: str, *params: object) -> Any:
    """Return the single value that a statement returns."""
    row = session.execute(bind(sql, SCHEMA), params).fetchone()
    assert row is not None, f"no row: {sql}"
    return row[0]


def column(session: Session, sql: str, *params: object) -> list[Any]:
    """Return the first column of the rows that a statement returns."""
    return [row[0] for row in session.execute(bind(sql, SCHEMA), params)]


def find(session: Session, table: str, task_id: object) -> dict[str, Any] | None:
    """Return the row of a task in ``tasks`` or ``history`` by column name; None if there is none."""
    with session.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(bind(f"select * from horsies.{table} where id = %s", SCHEMA), (task_id,)).fetchone()


def row(session: Session, table: str, task_id: object) -> dict[str, Any]:
    """Return the same as `find` for a row that must exist."""
    found = find(session, table, task_id)
    assert found is not None, f"no row in {table} for {task_id}"
    return found


def freeze_clock(session: Session, at: datetime = NOON) -> None:
    """Stop both clocks of the database, `now` and `server_time`."""
    _set_clock(session, at, 0)


def move_clock(session: Session, seconds: float) -> None:
    """Move both clocks of the database, `now` and `server_time`."""
    _set_clock(session, None, seconds)


def _set_clock(session: Session, frozen_at: datetime | None, seconds: float) -> None:
    use_test_clocks(session)
    session.execute(bind(_SET_CLOCK, SCHEMA), (frozen_at, seconds))


def use_test_clocks(session: Session) -> None:
    """Let both clocks of the database read the table `clock`."""
    if not scalar(session, _HAS_TEST_CLOCK):
        session.execute(bind(admin("test_clock"), SCHEMA))
        session.execute(bind(_TEST_SERVER_TIME, SCHEMA))


def is_blocked(observer: Session, waiting: Session) -> bool:
    """Whether a session waits for a lock that another one holds."""
    return scalar(observer, "select cardinality(pg_blocking_pids(%s)) > 0", waiting.info.backend_pid)


def wait_until_blocked(observer: Session, waiting: Session) -> None:
    """Wait until a session, busy in another thread, waits for a lock that another one holds."""
    wait_until(lambda: is_blocked(observer, waiting), describe="the session to wait for a lock")


class NotificationListener:
    """Listens to a channel, ``wake`` or ``done``, of the session's database."""

    def __init__(self, session: Session, kind: str) -> None:
        """Subscribe to the channel."""
        self._session = session
        self._channel = channel(kind, SCHEMA)
        session.execute(listen(self._channel))

    def heard(self) -> list[str]:
        """Return the payloads of all notices that were committed since the last call."""
        end = "that is all"
        self._session.execute("select pg_notify(%s, %s)", (self._channel, end))
        payloads: list[str] = []
        for notice in self._session.notifies(timeout=10):
            if notice.payload == end:
                return payloads
            payloads.append(notice.payload)
        message = f"not even our own notice came: {payloads}"
        raise AssertionError(message)


_WORKS_OVER_TCP = """
    select count(*) from pg_stat_activity
    where datname = current_database() and client_addr is not null and pid <> pg_backend_pid()
      and (state <> 'idle' or state_change > clock_timestamp() - interval '200 ms')
"""


def works_over_tcp(session: Session) -> bool:
    """Whether a statement that came over TCP runs, or has ended in the last 200 ms.

    Wait for the opposite before a proxy delays replies: if the reply of an exchange is under way then, the worker waits
    for it and sends nothing else over that connection.
    """
    return bool(scalar(session, _WORKS_OVER_TCP))
