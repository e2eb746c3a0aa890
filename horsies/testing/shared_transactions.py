"""Transactional tasks on the connection of a test: each attempt has a savepoint in the transaction of the test.

Without such a transaction, they get transactions and connections as in a worker.
"""

from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import override

import psycopg
from psycopg.pq import PGconn
from psycopg.rows import tuple_row

from horsies.db import task_transaction
from horsies.db.bounded import BoundedConnection
from horsies.db.connect import Database
from horsies.db.task_connection import AsyncTaskConnection, OwnFence, TaskConnection
from horsies.tasks.own_transaction import ConnectionKind, OwnTransaction
from horsies.testing.errors import QueueTestError
from horsies.testing.shared_connection import SharedConnection
from horsies.worker.runtime.transactions import AsyncTaskTransaction, TaskTransaction, Transactions

_ROLLBACK_REFUSED = (
    "connection.rollback() would roll back the transaction of the test, in which this task runs: return "
    "TaskResult(err=…) or raise an exception to roll back what the task has written, or use a savepoint, "
    "connection.transaction()"
)


class _SharedTaskConnection(TaskConnection):
    """The connection of a transactional task over the session of a test."""

    @override
    def rollback(self) -> None:
        raise QueueTestError(_ROLLBACK_REFUSED)

    @override
    def close(self) -> None:
        self.pgconn = PGconn()


class _AsyncSharedTaskConnection(AsyncTaskConnection):
    """Like `_SharedTaskConnection`, for asyncio."""

    @override
    async def rollback(self) -> None:
        raise QueueTestError(_ROLLBACK_REFUSED)

    @override
    async def close(self) -> None:
        self.pgconn = PGconn()


@dataclass(slots=True)
class _Savepoint:
    """The savepoint of one attempt."""

    database: Database
    connection: BoundedConnection
    own: OwnFence
    leave: Callable[[], None]
    undo: Callable[[], None]
    is_open: bool = True

    def finish(self, result: bytes) -> None:
        """Write the outcome, and release the savepoint.

        Raises:
            EndFailedError: the outcome was not written.
        """
        task_transaction.finish_within(self.database, self.connection, self.own, result)
        self.is_open = False
        self.leave()

    def end(self) -> None:
        """Roll back to the savepoint, unless it was released."""
        if self.is_open:
            self.is_open = False
            self.undo()


@dataclass(frozen=True, slots=True)
class _SharedTransaction(TaskTransaction):
    savepoint: _Savepoint

    @override
    def finish(self, result: bytes) -> None:
        self.savepoint.finish(result)

    @override
    def end(self) -> None:
        self.connection.close()
        self.savepoint.end()


@dataclass(frozen=True, slots=True)
class _AsyncSharedTransaction(AsyncTaskTransaction):
    savepoint: _Savepoint

    @override
    async def finish(self, result: bytes) -> None:
        self.savepoint.finish(result)

    @override
    async def end(self) -> None:
        await self.connection.close()
        self.savepoint.end()


class SharedTransactions(Transactions):
    """Begins the transactions of attempts over the connection of a test.

    Args:
        database: the database.
        shared: the connection of the test.
    """

    def __init__(self, database: Database, shared: SharedConnection) -> None:
        super().__init__(database)
        self._shared = shared

    @override
    def begin(self, wanted: OwnTransaction, own: OwnFence) -> TaskTransaction:
        """Begin the attempt at a ``def`` task."""
        if not self._shared.is_in_transaction:
            return super().begin(wanted, own)
        _refuse_other_kinds(wanted, ConnectionKind.PSYCOPG)
        savepoint = self._savepoint(own)
        connection = _SharedTaskConnection(self._shared.pgconn, tuple_row)
        connection.prepare_threshold = None
        self._database.verified.add(connection)
        return _SharedTransaction(connection, connection, own, self._database, _nothing, _nothing, savepoint)

    @override
    async def begin_async(self, wanted: OwnTransaction, own: OwnFence) -> AsyncTaskTransaction:
        """Begin the attempt at an ``async def`` task."""
        if not self._shared.is_in_transaction:
            return await super().begin_async(wanted, own)
        _refuse_other_kinds(wanted, ConnectionKind.PSYCOPG_ASYNC)
        savepoint = self._savepoint(own)
        connection = _AsyncSharedTaskConnection(self._shared.pgconn, tuple_row)
        connection.prepare_threshold = None
        self._database.verified.add(connection)
        return _AsyncSharedTransaction(
            connection, connection, own, self._database, _nothing_async, _nothing_async, savepoint
        )

    def _savepoint(self, own: OwnFence) -> _Savepoint:
        stack = ExitStack()
        connection = stack.enter_context(self._shared.savepoint())
        try:
            task_transaction.begin_within(connection, own)
        except BaseException:
            _undo(stack)
            raise
        return _Savepoint(self._database, connection, own, stack.close, lambda: _undo(stack))


def _undo(stack: ExitStack) -> None:
    with suppress(psycopg.Error), stack:  # the session was lost
        raise psycopg.Rollback


def _refuse_other_kinds(wanted: OwnTransaction, possible: ConnectionKind) -> None:
    if wanted.kind is not possible:
        msg = (
            f"a transactional task with a {wanted.cls.__name__} of SQLAlchemy cannot run in the transaction of a test: "
            "let it take a connection of psycopg, or test it with TestQueue(app) without connection="
        )
        raise QueueTestError(msg)


def _nothing() -> None:
    """There is nothing to flush or to release."""


async def _nothing_async() -> None:
    """There is nothing to flush or to release."""
