"""psycopg connections on which no wait for the server is endless.

A server that is stopped, or a network that loses everything, leaves a connection silent without closing it. The
operating system notices that late or, over a Unix socket, never. So each wait has a deadline here, in this process.
"""

from typing import Any, cast

import psycopg
from psycopg import AsyncConnection, BaseConnection, Connection
from psycopg.abc import PQGen
from psycopg.waiting import Ready

from horsies.process import monotonic

STATEMENT_LIMIT_S = 30.0
"""The longest time for one statement, in seconds, unless the connection has another limit."""

_PING_LIMIT_S = 4.0
_GRACE_S = 1.0
_AFTER_INTERRUPTION_S = 5.0
_INTERVAL_S = 0.1
# `wait` passes further options on as they are: psycopg 3.3 has more of them than 3.2.


class NoAnswerError(psycopg.OperationalError):
    """The server did not answer in time. The connection is closed, and it is unknown what the server has done."""


class BoundedConnection(Connection[tuple[Any, ...]]):
    """A connection that is closed when the server does not answer in time.

    Attributes:
        limit_s: the longest time for one statement, in seconds. The server ends a statement that takes longer. This
            process waits a little longer, so that the server can report that.
    """

    limit_s: float = STATEMENT_LIMIT_S

    def wait[R](  # type: ignore[override] # pyright: ignore[reportIncompatibleMethodOverride]
        self, gen: PQGen[R], interval: float = _INTERVAL_S, **options: Any
    ) -> R:
        """Wait for an answer of the server.

        Raises:
            NoAnswerError: it did not come in time.
        """
        try:
            return super().wait(_until_deadline(gen, self.limit_s + _GRACE_S), interval, **options)
        except NoAnswerError:
            self.close()
            raise

    def ping(self) -> None:
        """Make sure that the connection works.

        Raises:
            psycopg.Error: it does not, or there was no answer within 5 s.
        """
        usual, self.limit_s = self.limit_s, _PING_LIMIT_S
        self.execute(b"")
        self.limit_s = usual


class AsyncBoundedConnection(AsyncConnection[tuple[Any, ...]]):
    """Like `BoundedConnection`, for asyncio."""

    limit_s: float = STATEMENT_LIMIT_S

    async def wait[R](  # type: ignore[override] # pyright: ignore[reportIncompatibleMethodOverride]
        self, gen: PQGen[R], interval: float = _INTERVAL_S, **options: Any
    ) -> R:
        """Wait for an answer of the server; see `BoundedConnection.wait`."""
        try:
            return await super().wait(_until_deadline(gen, self.limit_s + _GRACE_S), interval, **options)
        except NoAnswerError:
            await self.close()
            raise

    async def ping(self) -> None:
        """Make sure that the connection works; see `BoundedConnection.ping`."""
        usual, self.limit_s = self.limit_s, _PING_LIMIT_S
        await self.execute(b"")
        self.limit_s = usual


def statement_limit(connection: BaseConnection[Any]) -> float:
    """Return the longest time for one statement on a connection, in seconds."""
    if isinstance(connection, BoundedConnection | AsyncBoundedConnection):
        return connection.limit_s
    return STATEMENT_LIMIT_S


def _until_deadline[R](waiting: PQGen[R], seconds: float) -> PQGen[R]:
    """Run a generator of psycopg, and stop it at the deadline.

    psycopg resumes a generator with the state of the socket when there is something to read or write, and with no state
    about ten times a second. After an interruption (Ctrl-C, or a cancelled coroutine) it asks the server to cancel the
    statement and then begins to wait again, by ``next``: this wait is short.
    """
    deadline = monotonic() + seconds
    try:
        wanted = next(waiting)
        while True:
            ready = cast("Ready | int | None", (yield wanted))
            now = monotonic()
            if ready is None:
                deadline = min(deadline, now + _AFTER_INTERRUPTION_S)
            if not ready and now > deadline:
                waiting.close()
                msg = f"the server did not answer within {seconds:g} s"
                raise NoAnswerError(msg)
            wanted = waiting.send(Ready.NONE if ready is None else ready)
    except StopIteration as finished:
        return finished.value
