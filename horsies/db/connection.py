"""Long-lived connections to the database, which are opened with backoff and reopened after a failure."""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import psycopg
from psycopg import AsyncConnection

from horsies.config.app import WorkerResilienceConfig
from horsies.db.connect import MIGRATION_LIMIT_S, Database
from horsies.db.errors import call_failed
from horsies.db.operations import Call, CallFailedError
from horsies.db.pipeline import round_trip_async
from horsies.db.rights import Kind
from horsies.events import event
from horsies.process import monotonic

_OPEN_AGAIN_S = 30.0
_WORKER_LIMIT_S = 60.0  # exchanges and maintenance handle many tasks in one statement

type Connection = AsyncConnection[tuple[Any, ...]]


class Backoff:
    """Pauses that double after each failure, up to ``db_retry_max_ms``."""

    def __init__(self, config: WorkerResilienceConfig) -> None:
        self._config = config
        self._failures = 0

    async def pause(self, failure: CallFailedError) -> None:
        """Log a failure and sleep."""
        doubled = self._config.db_retry_initial_ms * 2 ** min(self._failures, 30)
        self._failures += 1
        seconds = min(doubled, self._config.db_retry_max_ms) / 1000
        event("connection.retrying", level=logging.WARNING, reason=failure.message, retry_in_s=seconds)
        await asyncio.sleep(seconds)


async def retry_until_connected[R](config: WorkerResilienceConfig, attempt: Callable[[], Awaitable[R]]) -> R:
    """Call ``attempt`` until it succeeds, at most ``db_retry_max_attempts`` times.

    Raises:
        CallFailedError: the last attempt failed, or one failed with an error that a retry would not fix.
    """
    backoff = Backoff(config)
    tries = 0
    while True:
        tries += 1
        try:
            return await attempt()
        except CallFailedError as failure:
            if not failure.retryable or tries == config.db_retry_max_attempts:
                raise
            await backoff.pause(failure)


async def prepare_in_thread(database: Database) -> None:
    """Create, migrate or check the schema in a thread, and check the rights of a worker or scheduler.

    When the caller is cancelled, the thread is left alone: a stop signal must not wait for a migration or a pooler. It
    is a daemon thread, so the process does not wait for it either; the server then rolls the migration back.

    Raises:
        CallFailedError: see `Database.prepare`.
    """
    loop = asyncio.get_running_loop()
    prepared: asyncio.Future[None] = loop.create_future()

    def conclude(error: Exception | None) -> None:
        if prepared.done():
            return
        if error is None:
            prepared.set_result(None)
        else:
            prepared.set_exception(error)

    def prepare() -> None:
        error: Exception | None = None
        try:
            database.prepare(MIGRATION_LIMIT_S, Kind.WORKER)
        except Exception as caught:  # noqa: BLE001 - it is raised where the thread is awaited
            error = caught
        with suppress(RuntimeError):  # the loop is closed, so nobody waits any more
            loop.call_soon_threadsafe(conclude, error)

    threading.Thread(target=prepare, name="horsies-prepare", daemon=True).start()
    await prepared


class WorkerConnection:
    """One connection. A failure closes it, and the next call opens it again.

    Args:
        database: the database.
        limit_s: the longest time for one statement, in seconds; None: 60. A connection on which the server does not
            answer within that time is given up.
        fallback: the connection that is used when this one cannot be opened, because the number of connections is
            limited for instance. This one is opened only while the fallback is open, which is the more important one.
    """

    def __init__(
        self, database: Database, limit_s: float | None = None, fallback: "WorkerConnection | None" = None
    ) -> None:
        self._database = database
        self._limit_s = _WORKER_LIMIT_S if limit_s is None else limit_s
        self._fallback = fallback
        self._refused_until: float | None = None
        self._connection: Connection | None = None
        self._lock = asyncio.Lock()

    @property
    def is_open(self) -> bool:
        """Whether the connection is open, as far as is known: it may have been lost after the last reply."""
        return self._connection is not None and not self._connection.closed

    async def open(self) -> Connection:
        """Open the connection, without retries; an open connection is closed first.

        Raises:
            CallFailedError: the connection cannot be opened.
        """
        await self.close()
        try:
            self._connection = await self._database.connect_async(limit_s=self._limit_s)
        except psycopg.Error as error:
            raise call_failed(error) from error
        return self._connection

    async def _is_usable(self, fallback: "WorkerConnection") -> bool:
        """Whether calls can use this connection and need no fallback; opens it if that is possible."""
        async with self._lock:
            if self.is_open:
                return True
            is_refused = self._refused_until is not None and monotonic() < self._refused_until
            if is_refused or not fallback.is_open:
                return False
            try:
                await self.open()
            except CallFailedError as failure:
                if self._refused_until is None:
                    event("connection.shared", level=logging.WARNING, reason=failure.message)
                self._refused_until = monotonic() + _OPEN_AGAIN_S
                return False
            self._refused_until = None
            return True

    async def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def call[R](self, call: Call[R]) -> R:
        """Make one call in a separate transaction, followed by its hint; see `transactions`."""
        return (await self.transactions(*call.groups))[0][0]

    async def transactions(self, *groups: Sequence[Call[Any]]) -> list[list[Any]]:
        """Make calls in one round trip; each group is one transaction.

        Raises:
            CallFailedError: a call failed. Some transactions may have been committed. The connection is closed.
        """
        if self._fallback is not None and not await self._is_usable(self._fallback):
            return await self._fallback.transactions(*groups)
        async with self._lock:  # renewals of leases share a connection with exchanges
            try:
                connection = self._connection
                if connection is None or connection.closed:
                    connection = await self.open()
                return await round_trip_async(self._database, connection, *groups)
            except psycopg.Error as error:
                await self.close()
                raise call_failed(error) from error
            except (CallFailedError, asyncio.CancelledError):
                await self.close()
                raise
