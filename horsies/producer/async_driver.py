"""The asyncio driver. Each event loop has a separate connection pool, which is closed with the loop."""

import asyncio
import weakref
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from typing import Any

import psycopg

from horsies.db.bounded import AsyncBoundedConnection
from horsies.db.connect import Database
from horsies.db.errors import CALL_ERRORS, call_failed
from horsies.db.operations import (
    UNSET,
    Call,
    CallFailedError,
    Feed,
    InputExitError,
    Items,
    Operation,
    Pause,
    Rollback,
    Step,
    Transaction,
    Wait,
    Watch,
    Within,
)
from horsies.db.pipeline import extend_transaction_async, roll_back_async
from horsies.producer import caller_connection
from horsies.producer.async_waiter import AsyncWaiter, ListenerChecks
from horsies.producer.coalescing import AsyncCaller
from horsies.producer.fork_reset import reset_in_children
from horsies.producer.pool import AsyncPool
from horsies.producer.waiter import Waiters

_ITEMS_AT_A_TIME = 500

type ByLoop[V] = weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, V]


class AsyncDriver:
    """Runs operations on the running event loop. The pool of a loop is opened at its first use."""

    def __init__(self, database: Database, waiters: Waiters) -> None:
        self._database = database
        self._waiters = waiters
        self._checks = ListenerChecks(waiters)
        self._callers: ByLoop[AsyncCaller] = weakref.WeakKeyDictionary()
        self._closers: ByLoop[AsyncGenerator[None]] = weakref.WeakKeyDictionary()
        reset_in_children(self)

    def reset_after_fork(self) -> None:
        """Drop the pools, which belong to the parent process."""
        for caller in list(self._callers.values()):
            caller.pool.discard_after_fork()
        self._callers.clear()

    async def run[R](self, operation: Operation[R]) -> R:
        """Run an operation: execute each of its steps, and send it the answers until it returns."""
        try:
            step = next(operation)
            while True:
                try:
                    answer = await self._execute(step)
                except BaseException as failure:  # noqa: BLE001 - the operation raises it again
                    step = operation.throw(failure)
                else:
                    step = operation.send(answer)
        except StopIteration as finished:
            return finished.value
        except InputExitError as failure:
            raise failure.original from None
        finally:
            operation.close()

    def close_idle(self) -> None:
        """Close the idle connections of all event loops, from any thread, while no loop uses them."""
        for caller in list(self._callers.values()):
            caller.pool.close_idle()

    async def close(self) -> None:
        """Close the pool of the running event loop."""
        closer = self._closers.get(asyncio.get_running_loop())
        if closer is not None:
            await closer.aclose()

    def _execute(self, step: Step) -> Awaitable[Any]:  # noqa: PLR0911 - one case a step
        """Return what executes a step. This function is no coroutine, which would use memory while a caller waits."""
        match step:
            case Call():
                return self._call(step)
            case Watch():
                return self._watch(step)
            case Wait(ticket=AsyncWaiter() as waiter, seconds=seconds):
                return waiter.wait(seconds)
            case Pause(seconds=seconds):
                return asyncio.sleep(seconds)
            case Within():
                return self._within(step)
            case Rollback(transaction=transaction):
                return _roll_back(transaction)
            case Feed(items=items):
                return _feed(items)
            case Wait():
                msg = f"the ticket belongs to another driver: {step.ticket!r}"
                raise TypeError(msg)

    async def _watch(self, step: Watch) -> AsyncWaiter:
        return AsyncWaiter(self._waiters, self._checks, step.task_id)

    async def _call[R](self, call: Call[R]) -> R:
        try:
            caller = await self._open_caller()
            if call.connection is not UNSET:
                return await caller_connection.ask_async(self._database, call)
            return await caller.make(call)
        except CALL_ERRORS as error:
            raise call_failed(error) from error

    async def _within(self, step: Within) -> list[Any]:
        transaction = step.transaction
        opened: _Opened | None = transaction.resource
        begins = opened is None
        try:
            if opened is None:
                stack = AsyncExitStack()
                pool = (await self._open_caller()).pool
                opened = (stack, await stack.enter_async_context(pool.connection()))
                transaction.resource = opened
            replies = await extend_transaction_async(self._database, opened[1], step, begins=begins)
        except BaseException as error:
            await _roll_back(transaction)
            if isinstance(error, CALL_ERRORS):
                raise call_failed(error) from error
            raise
        if step.commit_with is not None:
            transaction.resource = None
            await opened[0].aclose()
        return replies

    async def _open_caller(self) -> AsyncCaller:
        self._database.check_use()
        if not self._database.is_prepared:
            await _in_thread(self._database.prepare)
        loop = asyncio.get_running_loop()
        caller = self._callers.get(loop)
        if caller is None:
            pool = AsyncPool(self._database)
            caller = self._callers[loop] = AsyncCaller(self._database, pool)
            await self._close_with_loop(loop, pool)
        return caller

    async def _close_with_loop(self, loop: asyncio.AbstractEventLoop, pool: AsyncPool) -> None:
        """Close the pool when the loop closes.

        A loop finalises its asynchronous generators before it closes, which is the only hook for asynchronous cleanup.
        """

        async def closer() -> AsyncGenerator[None]:
            try:
                yield
            finally:
                self._callers.pop(loop, None)
                self._closers.pop(loop, None)  # the generator keeps the loop alive
                await pool.close()

        generator = closer()
        await anext(generator)
        self._closers[loop] = generator


async def _in_thread(action: Callable[[], None]) -> None:
    try:
        await asyncio.to_thread(action)
    except RuntimeError as error:  # the operating system refuses another thread
        message = f"no thread can be started to prepare the schema: {error}"
        raise CallFailedError(message, retryable=True) from error


type _Opened = tuple[AsyncExitStack, AsyncBoundedConnection]


async def _roll_back(transaction: Transaction) -> None:
    """Roll a transaction back, if it is open, and return its connection to the pool."""
    opened: _Opened | None = transaction.resource
    transaction.resource = None
    if opened is None:
        return
    stack, connection = opened
    async with stack:
        with suppress(psycopg.Error):  # a connection that does not answer is closed
            await roll_back_async(connection, transaction)


async def _feed(items: Items) -> bool:
    """Pass items to the operation, and let the event loop run after some of them. See `horsies.db.operations.Feed`."""
    is_asynchronous = isinstance(items.source, AsyncIterable)
    if items.iterator is None:
        items.iterator = aiter(items.source) if isinstance(items.source, AsyncIterable) else iter(items.source)
    number, end = 0, object()
    while True:
        try:
            item = await anext(items.iterator, end) if is_asynchronous else next(items.iterator, end)
        except GeneratorExit as failure:
            raise InputExitError(failure) from None
        if item is end or not items.accept(item):
            return item is not end
        number += 1
        if number % _ITEMS_AT_A_TIME == 0:
            await asyncio.sleep(0)
