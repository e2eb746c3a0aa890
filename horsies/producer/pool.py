"""Connection pools without threads or background tasks: a caller that finds no idle connection opens one itself.

So a refused connection is reported immediately, a fork inherits no running threads, and an event loop can be closed
without waiting for the pool.
"""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import psycopg
from psycopg.pq import PipelineStatus, TransactionStatus

from horsies.db.bounded import AsyncBoundedConnection, BoundedConnection, NoAnswerError
from horsies.db.connect import Database
from horsies.db.operations import CallFailedError
from horsies.process import monotonic

_PING_AFTER_IDLE_S = 1.0
_SURPLUS_AFTER_IDLE_S = 10.0


@dataclass(slots=True)
class Pooled[C: BoundedConnection | AsyncBoundedConnection]:
    """A pooled connection.

    Attributes:
        connection: The connection.
        opened_at: When it was opened, by the monotonic clock.
        used_at: When it was last returned to the pool, by the monotonic clock.
    """

    connection: C
    opened_at: float = field(default_factory=monotonic)
    used_at: float = 0.0

    @property
    def is_reusable(self) -> bool:
        """Whether its last user left it outside of a transaction and of a pipeline."""
        pgconn = self.connection.pgconn
        return pgconn.transaction_status == TransactionStatus.IDLE and pgconn.pipeline_status == PipelineStatus.OFF


class IdlePool[C: BoundedConnection | AsyncBoundedConnection]:
    """The idle connections of a pool.

    The most recently used connection is taken first, so that surplus connections stay idle and are closed.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._config = database.config
        self._most = self._config.pool_size + self._config.max_overflow
        self._idle: deque[Pooled[C]] = deque()
        self._lock = threading.Lock()
        self._is_closed = False
        self._suspect_since = 0.0

    def _take_idle(self) -> Pooled[C] | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _put_back(self, pooled: Pooled[C]) -> Pooled[C] | None:
        """Return a connection to the pool. Return the connection that the caller must close, this one or another."""
        now = pooled.used_at = monotonic()
        with self._lock:
            if not pooled.is_reusable:
                self._suspect_since = now  # the other connections may be broken for the same reason
                return pooled
            if self._is_closed:
                return pooled
            self._idle.append(pooled)
            is_too_many = len(self._idle) > self._config.pool_size
            return self._idle.popleft() if is_too_many and now - self._idle[0].used_at > _SURPLUS_AFTER_IDLE_S else None

    def _take_all_idle(self) -> list[Pooled[C]]:
        """Take the idle connections, which the caller must close: one has not answered, so the others will not."""
        with self._lock:
            left = list(self._idle)
            self._idle.clear()
        return left

    def _clear(self) -> list[Pooled[C]]:
        """Close the pool for returned connections, and return the idle connections, which the caller must close."""
        with self._lock:
            self._is_closed = True
        return self._take_all_idle()

    def _is_spent(self, pooled: Pooled[C]) -> bool:
        """Whether a connection has reached the age at which it is replaced."""
        return monotonic() - pooled.opened_at > self._config.pool_recycle

    def _needs_ping(self, pooled: Pooled[C]) -> bool:
        """Whether a connection may have been lost unnoticed since it was last used."""
        is_suspect = pooled.used_at < max(self._suspect_since, monotonic() - _PING_AFTER_IDLE_S)
        return self._config.pool_pre_ping and is_suspect

    def close_idle(self) -> None:
        """Close the idle connections without an event loop."""
        for pooled in self._take_all_idle():
            pooled.connection.pgconn.finish()

    def discard_after_fork(self) -> None:
        """Drop the connections inherited from a fork's parent, which `horsies.db.inherited` has closed."""
        self._lock = threading.Lock()
        self._idle.clear()

    def _exhausted(self) -> CallFailedError:
        seconds = self._config.pool_timeout
        message = (
            f"no connection became free within {seconds:g} s (pool_timeout): "
            f"the pool has at most {self._most} connections (pool_size + max_overflow)"
        )
        return CallFailedError(message, retryable=True)


class SyncPool(IdlePool[BoundedConnection]):
    """A connection pool for threads."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._slots = threading.Semaphore(self._most)

    @contextmanager
    def connection(self) -> Generator[BoundedConnection]:
        """Provide a connection within a ``with`` block.

        Raises:
            CallFailedError: No connection became free within ``pool_timeout``.
            psycopg.Error: A connection could not be opened.
        """
        deadline = monotonic() + self._config.pool_timeout
        if not self._slots.acquire(timeout=self._config.pool_timeout):
            raise self._exhausted()
        try:
            pooled = self._take(deadline)
            try:
                yield pooled.connection
            finally:
                if (left := self._put_back(pooled)) is not None:
                    left.connection.close()
        finally:
            self._slots.release()

    def close(self) -> None:
        """Close the idle connections now, and the others when they are returned."""
        for pooled in self._clear():
            pooled.connection.close()

    def _take(self, deadline: float) -> Pooled[BoundedConnection]:
        while (pooled := self._take_idle()) is not None:
            if self._is_good(pooled):
                return pooled
            pooled.connection.close()
        return Pooled(self._database.connect(within_s=deadline - monotonic()))

    def _is_good(self, pooled: Pooled[BoundedConnection]) -> bool:
        if self._is_spent(pooled):
            return False
        try:
            if self._needs_ping(pooled):
                pooled.connection.ping()
        except psycopg.Error as error:
            for other in self._take_all_idle() if isinstance(error, NoAnswerError) else ():
                other.connection.close()
            return False
        return True


class AsyncPool(IdlePool[AsyncBoundedConnection]):
    """A connection pool for the asyncio tasks of one event loop."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._slots = asyncio.Semaphore(self._most)

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[AsyncBoundedConnection]:
        """Like `SyncPool.connection`, for asyncio."""
        deadline = monotonic() + self._config.pool_timeout
        try:
            async with asyncio.timeout(self._config.pool_timeout):
                await self._slots.acquire()
        except TimeoutError:
            raise self._exhausted() from None
        try:
            pooled = await self._take(deadline)
            try:
                yield pooled.connection
            finally:
                if (left := self._put_back(pooled)) is not None:
                    await left.connection.close()
        finally:
            self._slots.release()

    async def close(self) -> None:
        """Close the idle connections now, and the others when they are returned."""
        for pooled in self._clear():
            await pooled.connection.close()

    async def _take(self, deadline: float) -> Pooled[AsyncBoundedConnection]:
        while (pooled := self._take_idle()) is not None:
            if await self._is_good(pooled):
                return pooled
            await pooled.connection.close()
        return Pooled(await self._database.connect_async(within_s=deadline - monotonic()))

    async def _is_good(self, pooled: Pooled[AsyncBoundedConnection]) -> bool:
        if self._is_spent(pooled):
            return False
        try:
            if self._needs_ping(pooled):
                await pooled.connection.ping()
        except psycopg.Error as error:
            for other in self._take_all_idle() if isinstance(error, NoAnswerError) else ():
                await other.connection.close()
            return False
        return True
