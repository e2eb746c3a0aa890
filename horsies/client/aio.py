"""The asyncio driver: the same steps, awaited. Each event loop has a pool of its own, closed with the loop."""

import asyncio
import os
import weakref
from collections.abc import AsyncGenerator
from typing import Any

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from horsies.client.waiting import Waiters
from horsies.db.connect import Database, PooledAsyncConnection, needs_ping
from horsies.db.failures import call_failed
from horsies.db.operations import Call, CallFailedError, Operation, Pause, Step, Wait, Watch

type Pool = AsyncConnectionPool[PooledAsyncConnection]
type Opened = weakref.WeakSet[PooledAsyncConnection]


class AsyncWaiter:
    """A ticket that can be awaited."""

    __slots__ = ("_ended", "_loop", "_waiter")

    def __init__(self, waiters: Waiters, watch: Watch) -> None:
        """Begin to watch."""
        self._ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._waiter = waiters.watch(watch.task_id, self._wake)

    def _wake(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._ended.set)

    async def wait(self, seconds: float) -> None:
        """Wait until a notice came since the last wait, or the seconds are over."""
        try:
            async with asyncio.timeout(seconds):
                await self._ended.wait()
        except TimeoutError:
            return
        self._ended.clear()

    def close(self) -> None:
        """Stop watching."""
        self._waiter.close()


class AsyncDriver:
    """Carries operations out on the running event loop."""

    def __init__(self, database: Database, waiters: Waiters) -> None:
        """Nothing is opened yet."""
        self._database = database
        self._waiters = waiters
        self._pools: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[int, Pool]] = (
            weakref.WeakKeyDictionary()
        )
        self._closers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncGenerator[None]] = (
            weakref.WeakKeyDictionary()
        )

    async def run[R](self, operation: Operation[R]) -> R:
        """Carry an operation out."""
        try:
            step = next(operation)
            while True:
                try:
                    answer = await self._take(step)
                except CallFailedError as failure:
                    step = operation.throw(failure)
                else:
                    step = operation.send(answer)
        except StopIteration as finished:
            return finished.value
        finally:
            operation.close()

    async def close(self) -> None:
        """Close the pool of the running loop."""
        closer = self._closers.pop(asyncio.get_running_loop(), None)
        if closer is not None:
            await closer.aclose()

    async def _take(self, step: Step) -> Any:
        match step:
            case Call():
                return await self._call(step)
            case Watch():
                return AsyncWaiter(self._waiters, step)
            case Wait(ticket=AsyncWaiter() as waiter, seconds=seconds):
                return await waiter.wait(seconds)
            case Pause(seconds=seconds):
                return await asyncio.sleep(seconds)
            case Wait():
                msg = f"a ticket of another driver: {step.ticket!r}"
                raise TypeError(msg)

    async def _call[R](self, call: Call[R]) -> R:
        try:
            pool = await self._open_pool()
            async with pool.connection() as connection:
                if call.hint is None:
                    cursor = await connection.execute(self._database.statement(call), call.params)
                    return call.decode(await cursor.fetchall())
                async with connection.pipeline() as pipeline:
                    cursor = await connection.execute(self._database.statement(call), call.params)
                    await pipeline.sync()
                    await connection.execute(self._database.statement(call.hint))
                    return call.decode(await cursor.fetchall())
        except PoolTimeout as error:
            raise await self._why_no_connection(error) from error
        except psycopg.Error as error:
            raise call_failed(error) from error

    async def _why_no_connection(self, pool_timeout: PoolTimeout) -> CallFailedError:
        """The pool only says that time ran out: a connection of our own tells why."""
        try:
            connection = await self._database.connect_async()
        except psycopg.Error as error:
            return call_failed(error)
        await connection.close()
        return call_failed(pool_timeout)

    async def _open_pool(self) -> Pool:
        loop = asyncio.get_running_loop()
        pid, pool = self._pools.get(loop, (0, None))
        if pool is not None and pid == os.getpid():
            return pool
        if not self._database.is_prepared:
            await asyncio.to_thread(self._database.prepare)
        opened: Opened = weakref.WeakSet()
        pool = self._new_pool(opened)
        await pool.open()
        if loop in self._pools and self._pools[loop][0] == os.getpid():  # another task was quicker
            await pool.close()
            return self._pools[loop][1]
        self._pools[loop] = (os.getpid(), pool)
        await self._close_with_loop(loop, pool, opened)
        return pool

    def _new_pool(self, opened: Opened) -> Pool:
        config = self._database.config

        async def configure(connection: PooledAsyncConnection) -> None:
            opened.add(connection)
            if self._database.limit_statements is not None:
                await connection.execute(self._database.limit_statements)

        return AsyncConnectionPool(
            self._database.url,
            connection_class=PooledAsyncConnection,
            kwargs=self._database.connect_kwargs(),
            min_size=0,
            max_size=config.pool_size + config.max_overflow,
            timeout=config.pool_timeout,
            max_lifetime=config.pool_recycle,
            num_workers=1,
            configure=configure,
            check=_check_idle if config.pool_pre_ping else None,
            open=False,
            name="horsies",
        )

    async def _close_with_loop(self, loop: asyncio.AbstractEventLoop, pool: Pool, opened: Opened) -> None:
        """A loop finalises its asynchronous generators before it closes: the one moment to close a pool in."""

        async def closer() -> AsyncGenerator[None]:
            try:
                yield
            finally:
                self._pools.pop(loop, None)
                await _close(pool, opened)

        generator = closer()
        await anext(generator)
        self._closers[loop] = generator


async def _close(pool: Pool, opened: Opened) -> None:
    """Close a pool, also when the loop has ended the pool's own tasks, without which it cannot close itself."""
    try:
        await pool.close()
    except asyncio.CancelledError:
        for connection in list(opened):
            await connection.close()
        raise


async def _check_idle(connection: PooledAsyncConnection) -> None:
    if needs_ping(connection):
        await AsyncConnectionPool.check_connection(connection)
