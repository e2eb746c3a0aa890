"""Pools of connections, without threads or background tasks: who needs a connection and finds none opens it.

So a refused connection is known at once, a fork inherits nothing that runs, and a loop that ends has nothing to wait
for.
"""

import asyncio
import os
import threading
from collections import deque
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import AsyncConnection, Connection
from psycopg.pq import PipelineStatus, TransactionStatus

from horsies.db.connect import Database
from horsies.db.operations import CallFailedError
from horsies.process import monotonic

_PING_AFTER_IDLE_S = 1.0
_SURPLUS_AFTER_IDLE_S = 10.0


@dataclass(slots=True)
class Pooled[C: Connection[Any] | AsyncConnection[Any]]:
    """A connection and what its pool knows of it. ``is_ready``: its session is set up."""

    connection: C
    is_ready: bool = False
    opened_at: float = field(default_factory=monotonic)
    used_at: float = 0.0

    @property
    def is_reusable(self) -> bool:
        """Whether the last one who used it left it in order."""
        pgconn = self.connection.pgconn
        is_idle = pgconn.transaction_status == TransactionStatus.IDLE and pgconn.pipeline_status == PipelineStatus.OFF
        return self.is_ready and is_idle


class IdlePool[C: Connection[Any] | AsyncConnection[Any]]:
    """The idle connections of a pool. The one used last is taken first, so that what is too many gets old."""

    def __init__(self, database: Database) -> None:
        """Open nothing yet."""
        self._database = database
        self._config = database.config
        self._most = self._config.pool_size + self._config.max_overflow
        self._idle: deque[Pooled[C]] = deque()
        self._lock = threading.Lock()
        self._is_closed = False
        self._doubted_at = 0.0

    def _take_idle(self) -> Pooled[C] | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _put_back(self, pooled: Pooled[C]) -> Pooled[C] | None:
        """Keep a connection for the next one; answers the one that is to be closed, this or another."""
        now = pooled.used_at = monotonic()
        with self._lock:
            if not pooled.is_reusable:
                self._doubted_at = now  # what broke this one may have broken all
                return pooled
            if self._is_closed:
                return pooled
            self._idle.append(pooled)
            is_too_many = len(self._idle) > self._config.pool_size
            return self._idle.popleft() if is_too_many and now - self._idle[0].used_at > _SURPLUS_AFTER_IDLE_S else None

    def _clear(self) -> list[Pooled[C]]:
        """Keep nothing from now on; answers what is to be closed."""
        with self._lock:
            self._is_closed = True
            left = list(self._idle)
            self._idle.clear()
        return left

    def _is_spent(self, pooled: Pooled[C]) -> bool:
        """Whether a connection is so old that it is to be replaced."""
        return monotonic() - pooled.opened_at > self._config.pool_recycle

    def _needs_ping(self, pooled: Pooled[C]) -> bool:
        """Whether a connection may have died unseen since it was used."""
        is_doubtful = pooled.used_at < max(self._doubted_at, monotonic() - _PING_AFTER_IDLE_S)
        return self._config.pool_pre_ping and is_doubtful

    def discard_after_fork(self) -> None:
        """Forget connections that belong to the parent of a fork, without the good-bye that would end them there."""
        self._lock = threading.Lock()
        for pooled in self._idle:
            with suppress(psycopg.Error, OSError):
                os.close(pooled.connection.pgconn.socket)
            pooled.connection.pgconn.finish()
        self._idle.clear()

    def _exhausted(self) -> CallFailedError:
        seconds = self._config.pool_timeout
        message = f"no connection became free within {seconds:g} s: pool_size + max_overflow are {self._most}"
        return CallFailedError(message, retryable=True)


class SyncPool(IdlePool[Connection[Any]]):
    """Connections for threads."""

    def __init__(self, database: Database) -> None:
        """Open nothing yet."""
        super().__init__(database)
        self._slots = threading.Semaphore(self._most)

    @contextmanager
    def connection(self) -> Generator[Connection[Any]]:
        """Lend a connection.

        Raises:
            CallFailedError: none became free within ``pool_timeout``.
            psycopg.Error: none could be opened.
        """
        if not self._slots.acquire(timeout=self._config.pool_timeout):
            raise self._exhausted()
        try:
            pooled = self._take()
            try:
                while not self._is_good(pooled):
                    pooled.connection.close()
                    pooled = self._take()
                yield pooled.connection
            finally:
                if (left := self._put_back(pooled)) is not None:
                    left.connection.close()
        finally:
            self._slots.release()

    def close(self) -> None:
        """Close the idle connections now, and the others when they come back."""
        for pooled in self._clear():
            pooled.connection.close()

    def _take(self) -> Pooled[Connection[Any]]:
        return self._take_idle() or Pooled(self._database.connect())

    def _is_good(self, pooled: Pooled[Connection[Any]]) -> bool:
        if not pooled.is_ready:
            if self._database.limit_statements is not None:
                pooled.connection.execute(self._database.limit_statements)
            pooled.is_ready = True
            return True
        if self._is_spent(pooled):
            return False
        try:
            if self._needs_ping(pooled):
                pooled.connection.execute(b"")
        except psycopg.Error:
            return False
        return True


class AsyncPool(IdlePool[AsyncConnection[Any]]):
    """Connections for the tasks of one event loop: `SyncPool`, awaited."""

    def __init__(self, database: Database) -> None:
        """Open nothing yet."""
        super().__init__(database)
        self._slots = asyncio.Semaphore(self._most)

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[AsyncConnection[Any]]:
        """The same as `SyncPool.connection`, awaited."""
        try:
            async with asyncio.timeout(self._config.pool_timeout):
                await self._slots.acquire()
        except TimeoutError:
            raise self._exhausted() from None
        try:
            pooled = await self._take()
            try:
                while not await self._is_good(pooled):
                    await pooled.connection.close()
                    pooled = await self._take()
                yield pooled.connection
            finally:
                if (left := self._put_back(pooled)) is not None:
                    await left.connection.close()
        finally:
            self._slots.release()

    async def close(self) -> None:
        """Close the idle connections now, and the others when they come back."""
        for pooled in self._clear():
            await pooled.connection.close()

    async def _take(self) -> Pooled[AsyncConnection[Any]]:
        return self._take_idle() or Pooled(await self._database.connect_async())

    async def _is_good(self, pooled: Pooled[AsyncConnection[Any]]) -> bool:
        if not pooled.is_ready:
            if self._database.limit_statements is not None:
                await pooled.connection.execute(self._database.limit_statements)
            pooled.is_ready = True
            return True
        if self._is_spent(pooled):
            return False
        try:
            if self._needs_ping(pooled):
                await pooled.connection.execute(b"")
        except psycopg.Error:
            return False
        return True
