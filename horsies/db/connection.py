"""Long-lived connections to the database, which are opened with backoff and reopened after a failure."""

import asyncio
import logging
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


class WorkerConnection:
    """One connection. A failure closes it, and the next call opens it again."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: Connection | None = None
        self._lock = asyncio.Lock()

    @property
    def is_open(self) -> bool:
        """Whether the connection is open."""
        return self._connection is not None

    async def open(self) -> Connection:
        """Open the connection, without retries; an open connection is closed first.

        Raises:
            CallFailedError: the connection cannot be opened.
        """
        await self.close()
        try:
            self._connection = await self._database.connect_async()
        except psycopg.Error as error:
            raise call_failed(error) from error
        return self._connection

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
        async with self._lock:  # renewals of leases share a connection with exchanges
            try:
                async with asyncio.timeout(_CALL_TIMEOUT_S):
                    connection = self._connection or await self.open()
                    return await round_trip_async(self._database, connection, *groups)
            except (psycopg.Error, TimeoutError) as error:
                await self.close()
                raise call_failed(error) from error
            except (CallFailedError, asyncio.CancelledError):
                await self.close()
                raise
