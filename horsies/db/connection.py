"""Long-lived connections to the database: opened with back-off, reopened when they break."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import psycopg
from psycopg import AsyncConnection

from horsies.config.app import WorkerResilienceConfig
from horsies.db.connect import Database
from horsies.db.errors import call_failed
from horsies.db.operations import Call, CallFailedError
from horsies.db.pipeline import round_trip_async
from horsies.events import event

_CALL_TIMEOUT_S = 60.0

type Connection = AsyncConnection[tuple[Any, ...]]


class Backoff:
    """Waits longer after each failure."""

    def __init__(self, config: WorkerResilienceConfig) -> None:
        """Begin with the first wait."""
        self._config = config
        self._failures = 0

    async def pause(self, failure: CallFailedError) -> None:
        """Report a failure and wait."""
        doubled = self._config.db_retry_initial_ms * 2 ** min(self._failures, 30)
        self._failures += 1
        seconds = min(doubled, self._config.db_retry_max_ms) / 1000
        event("connection.retrying", reason=failure.message, retry_in_s=seconds)
        await asyncio.sleep(seconds)


async def retry_until_connected[R](config: WorkerResilienceConfig, attempt: Callable[[], Awaitable[R]]) -> R:
    """Try until the database answers, or so often as ``db_retry_max_attempts`` says.

    Raises:
        CallFailedError: the last try failed, or any in a way that another one would not change.
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


class WorkerConnection:
    """One connection. Any failure closes it; `reopen` opens it again."""

    def __init__(self, database: Database) -> None:
        """Closed at first."""
        self._database = database
        self._connection: Connection | None = None
        self._lock = asyncio.Lock()

    @property
    def is_open(self) -> bool:
        """Whether calls can be made."""
        return self._connection is not None

    async def open(self) -> Connection:
        """Open the connection, once.

        Raises:
            CallFailedError: it can't be opened.
        """
        await self.close()
        try:
            self._connection = await self._database.connect_async()
        except psycopg.Error as error:
            raise call_failed(error) from error
        return self._connection

    async def begin(self) -> None:
        """Open the connection anew, and with it a transaction that is left open.

        Raises:
            CallFailedError: it can't be opened.
        """
        connection = await self.open()
        try:
            await connection.execute("begin;")
        except psycopg.Error as error:
            await self.close()
            raise call_failed(error) from error

    async def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def call[R](self, call: Call[R]) -> R:
        """Make one call, in a transaction of its own."""
        return (await self.transactions([call]))[0][0]

    async def transactions(self, *groups: Sequence[Call[Any]]) -> list[list[Any]]:
        """Make calls in one round trip; each group is one transaction.

        Raises:
            CallFailedError: some of it failed. What of it was committed is not known, and the connection is closed.
        """
        async with self._lock:  # renewals of leases share a connection with exchanges
            try:
                async with asyncio.timeout(_CALL_TIMEOUT_S):
                    connection = self._connection or await self.open()
                    return await round_trip_async(self._database, connection, *groups)
            except (psycopg.Error, TimeoutError) as error:
                await self.close()
                raise call_failed(error) from error
            except asyncio.CancelledError:
                await self.close()
                raise
