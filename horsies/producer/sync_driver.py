"""The blocking driver, which runs operations in the calling thread."""

import threading
import time
import weakref
from collections.abc import Iterable
from contextlib import AbstractContextManager, ExitStack, suppress
from typing import Any
from uuid import UUID

import psycopg

from horsies.db.bounded import BoundedConnection
from horsies.db.connect import Database
from horsies.db.errors import CALL_ERRORS, call_failed
from horsies.db.operations import (
    UNSET,
    Call,
    CallRefusedError,
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
from horsies.db.pipeline import extend_transaction, roll_back, round_trip
from horsies.db.queries.rows import StoredResult
from horsies.process import monotonic
from horsies.producer import caller_connection
from horsies.producer.fork_reset import reset_in_children
from horsies.producer.pool import SyncPool
from horsies.producer.waiter import Waiter, Waiters


class SyncWaiter(Waiter):
    """A waiter on which a thread can block."""

    __slots__ = ("ended",)

    def __init__(self, waiters: Waiters, task_id: UUID) -> None:
        self.ended = threading.Event()
        super().__init__(waiters, task_id)

    def wake(self, pushed_result: StoredResult | None) -> None:
        """Store the pushed result, if there is one, and wake the thread."""
        super().wake(pushed_result)
        self.ended.set()

    def wait(self, seconds: float) -> StoredResult | None:
        """Block until a notification arrives or the timeout expires. Return the result if it was pushed.

        While no notifications can arrive, the wait ends at the poll interval.
        """
        deadline = monotonic() + seconds
        while (left := deadline - monotonic()) > 0:
            hearing = self._waiters.hearing()
            if self.ended.wait(min(left, hearing.seconds)) or hearing.is_deaf:
                break
        self.ended.clear()
        return self._pushed_result


class SyncDriver:
    """Runs operations, blocking. Its pool is opened at first use, and again in a forked child process."""

    def __init__(self, database: Database, waiters: Waiters) -> None:
        self._database = database
        self._waiters = waiters
        self._lock = threading.Lock()
        self._pool: SyncPool | None = None
        reset_in_children(self)

    def reset_after_fork(self) -> None:
        """Drop the pool, which belongs to the parent process."""
        self._lock = threading.Lock()
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.discard_after_fork()

    def run[R](self, operation: Operation[R]) -> R:
        """Run an operation: execute each of its steps, and send it the answers until it returns."""
        try:
            step = next(operation)
            while True:
                try:
                    answer = self._execute(step)
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

    def connection(self) -> AbstractContextManager[BoundedConnection]:
        """Provide a connection of the pool, for calls that are no operations."""
        return self._open_pool().connection()

    def close(self) -> None:
        """Close the pool. The next operation opens a new one."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    def _execute(self, step: Step) -> Any:  # noqa: PLR0911 - one case a step
        match step:
            case Call():
                return self._call(step)
            case Watch():
                return SyncWaiter(self._waiters, step.task_id)
            case Wait(ticket=SyncWaiter() as waiter, seconds=seconds):
                return waiter.wait(seconds)
            case Pause(seconds=seconds):
                return time.sleep(seconds)
            case Within():
                return self._within(step)
            case Rollback(transaction=transaction):
                return _roll_back(transaction)
            case Feed(items=items):
                return _feed(items)
            case Wait():
                msg = f"the ticket belongs to another driver: {step.ticket!r}"
                raise TypeError(msg)

    def _call[R](self, call: Call[R]) -> R:
        try:
            pool = self._open_pool()
            if call.connection is not UNSET:
                return caller_connection.ask(self._database, call)
            with pool.connection() as connection:
                return round_trip(self._database, connection, *call.groups)[0][0]
        except CALL_ERRORS as error:
            raise call_failed(error) from error

    def _within(self, step: Within) -> list[Any]:
        transaction = step.transaction
        opened: _Opened | None = transaction.resource
        begins = opened is None
        try:
            if opened is None:
                stack = ExitStack()
                opened = (stack, stack.enter_context(self._open_pool().connection()))
                transaction.resource = opened
            replies = extend_transaction(self._database, opened[1], step, begins=begins)
        except BaseException as error:
            _roll_back(transaction)
            if isinstance(error, CALL_ERRORS):
                raise call_failed(error) from error
            raise
        if step.commit_with is not None:
            transaction.resource = None
            opened[0].close()
        return replies

    def _open_pool(self) -> SyncPool:
        self._database.check_use()
        self._database.prepare()
        with self._lock:
            if self._pool is None:
                self._pool = SyncPool(self._database)
                weakref.finalize(self, self._pool.close)
            return self._pool


def _feed(items: Items) -> bool:
    """Pass items to the operation. Return whether there may be further items."""
    if items.iterator is None:
        if not isinstance(items.source, Iterable):
            msg = "the items come from an asynchronous iterable: use send_many_async"
            raise CallRefusedError(msg, retryable=False)
        items.iterator = map(items.accept, items.source)
    try:
        return not all(items.iterator)
    except GeneratorExit as failure:
        raise InputExitError(failure) from None


type _Opened = tuple[ExitStack, BoundedConnection]


def _roll_back(transaction: Transaction) -> None:
    """Roll a transaction back, if it is open, and return its connection to the pool."""
    opened: _Opened | None = transaction.resource
    transaction.resource = None
    if opened is None:
        return
    stack, connection = opened
    with stack, suppress(psycopg.Error):  # a connection that does not answer is closed
        roll_back(connection, transaction)
