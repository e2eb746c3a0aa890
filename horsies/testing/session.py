"""The connection of the testing kit itself to the database of a test, and the clock of that database."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

import psycopg

from horsies.db.operations import Call, scalar
from horsies.db.pipeline import round_trip
from horsies.db.queries.worker import notify_wake
from horsies.db.sqlfiles import admin, bind
from horsies.producer.drivers import Drivers

CLOCK_TIME: Call[datetime] = Call(admin("clock_time"), (), scalar)
"""Reads the time by which tasks are due."""


class KitSession(Protocol):
    """Makes calls for the testing kit."""

    def round_trip(self, *groups: Sequence[Call[Any]]) -> list[list[Any]]:
        """Make calls in one round trip; each group is one transaction.

        Raises:
            CallFailedError: a call failed.
        """
        ...

    def execute(self, name: str, params: Any = None) -> list[tuple[Any, ...]]:
        """Run a statement from a file of ``sql/admin``, and return its rows."""
        ...


class PoolSession:
    """Makes calls over connections of the app's pool.

    Args:
        drivers: the drivers of the app.
    """

    def __init__(self, drivers: Drivers) -> None:
        self._drivers = drivers

    def round_trip(self, *groups: Sequence[Call[Any]]) -> list[list[Any]]:
        """Make calls in one round trip; see `KitSession`."""
        with self._drivers.connection() as connection:
            return round_trip(self._drivers.database, connection, *groups)

    def execute(self, name: str, params: Any = None) -> list[tuple[Any, ...]]:
        """Run a statement from a file of ``sql/admin``, and return its rows."""
        with self._drivers.connection() as connection:
            cursor = connection.execute(bind(admin(name), self._drivers.database.schema), params)
            return cursor.fetchall() if cursor.description else []


def make_call[R](session: KitSession, call: Call[R]) -> R:
    """Make one call, followed by its hint."""
    return session.round_trip(*call.groups)[0][0]


class TaskClock:
    """The clock of tasks, and where a test wants it to go.

    The clock runs until a test moves it, and is frozen from then on. `target` is written by `move_by` and `freeze`;
    `drain` moves the clock there, from one due moment to the next.
    """

    def __init__(self, session: KitSession) -> None:
        self._session = session
        self.target: datetime | None = None

    @property
    def is_moved(self) -> bool:
        """Whether a test has moved or frozen the clock."""
        return self.target is not None

    def now(self) -> datetime:
        """Return the time of the database."""
        return self._session.execute("clock_time")[0][0]

    def move_by(self, delta: timedelta | str) -> None:
        """Set the target to a time after the present one, or after the target that is not reached yet.

        Raises:
            ValueError: PostgreSQL does not read the text as an interval, or the interval is negative.
        """
        start = self._freeze()
        try:
            [(target,)] = self._session.execute("add_interval", (self.target or start, delta))
        except (psycopg.DataError, psycopg.ProgrammingError) as error:
            raise _no_interval(delta) from error
        if target is None:
            raise _no_interval(delta)
        if target < start:
            msg = f"advance moves the clock forward only, got {delta!r}; freeze sets it to any time"
            raise ValueError(msg)
        self.target = target

    def freeze(self, at: datetime) -> None:
        """Set the target to a time. The clock goes back at once, and forward when `drain` moves it.

        Raises:
            ValueError: the time has no time zone.
        """
        if getattr(at, "tzinfo", None) is None:
            msg = f"freeze takes a datetime with a time zone, got {at!r}: pass tzinfo=UTC, for example"
            raise ValueError(msg)
        if at < self._freeze():
            self.set(at)
        self.target = at

    def set(self, at: datetime) -> None:
        """Set the clock, which stays frozen."""
        self._session.execute("freeze_clock", (at,))
        self._session.round_trip([notify_wake()])

    def next_moment(self, names: Sequence[str], schedules: Sequence[str]) -> datetime | None:
        """Return the next time, up to the target, at which something falls due, or else the target.

        None: the clock has reached its target, or has none.
        """
        if self.target is None or self.now() >= self.target:
            return None
        return self.look_ahead(names, schedules)[0] or self.target

    def look_ahead(self, names: Sequence[str], schedules: Sequence[str]) -> tuple[datetime | None, bool]:
        """Return the next time, up to the target, at which something falls due, and whether nothing is due until then.

        Args:
            names: the tasks of the app.
            schedules: its schedules.
        """
        wanted = {"names": list(names), "schedules": list(schedules), "until": self.target}
        [(moment, is_idle)] = self._session.execute("next_moment", wanted)
        return moment, is_idle

    def _freeze(self) -> datetime:
        """Freeze the clock where it stands; returns its time."""
        [(now, is_frozen)] = self._session.execute("clock_time")
        if not is_frozen:
            self.set(now)
        return now


def _no_interval(delta: object) -> ValueError:
    return ValueError(f'advance takes a timedelta or an interval of PostgreSQL such as "3 days", got {delta!r}')
