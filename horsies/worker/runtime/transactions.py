"""The transactions of transactional tasks in a child: connections, and what the task gets as its first argument.

A connection is opened when the first transactional task needs it, after the fork, and kept for the next attempt. The
session is reset between attempts (`horsies.db.task_connection`). With psycopg, each attempt gets a new connection
object over the same session, so that a thread that an attempt has left behind cannot write into the next transaction.
"""

import importlib
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from horsies.db import task_transaction
from horsies.db.connect import Database
from horsies.db.task_connection import AsyncTaskConnection, IdleSession, OwnFence, TaskConnection
from horsies.process import monotonic
from horsies.tasks.own_transaction import ConnectionKind, OwnTransaction

_DRIVER = "postgresql+psycopg://"
_POOL: dict[str, Any] = {"pool_size": 0, "pool_reset_on_return": None}  # `end` has ended the transaction already


@dataclass(frozen=True, slots=True)
class TaskTransaction:
    """The transaction of an attempt at a ``def`` task.

    Attributes:
        argument: the first argument of the task.
        connection: the connection of psycopg below it.
        own: the claim of the attempt.
        database: the database.
        flush: writes what an ORM session has not written yet.
        release: returns the connection, which is idle or closed, to where it came from.
    """

    argument: object
    connection: TaskConnection
    own: OwnFence
    database: Database
    flush: Callable[[], None]
    release: Callable[[], None]

    def finish(self, result: bytes) -> None:
        """Write the outcome and commit; see `horsies.db.task_transaction.finish`."""
        task_transaction.finish(self.database, self.connection, self.own, result)

    def end(self) -> None:
        """Roll back, unless the transaction has ended, and return the connection."""
        try:
            task_transaction.roll_back(self.connection)
        except psycopg.Error:
            self.connection.close()
        if not self.connection.is_idle:
            self.connection.close()
        self.connection.idle_since = monotonic()
        self.release()


@dataclass(frozen=True, slots=True)
class AsyncTaskTransaction:
    """The transaction of an attempt at an ``async def`` task; see `TaskTransaction`."""

    argument: object
    connection: AsyncTaskConnection
    own: OwnFence
    database: Database
    flush: Callable[[], Awaitable[None]]
    release: Callable[[], Awaitable[None]]

    async def finish(self, result: bytes) -> None:
        """Write the outcome and commit; see `horsies.db.task_transaction.finish`."""
        await task_transaction.finish_async(self.database, self.connection, self.own, result)

    async def end(self) -> None:
        """Roll back, unless the transaction has ended, and return the connection."""
        try:
            await task_transaction.roll_back_async(self.connection)
        except psycopg.Error:
            await self.connection.close()
        if not self.connection.is_idle:
            await self.connection.close()
        self.connection.idle_since = monotonic()
        await self.release()


def is_aborted(connection: TaskConnection | AsyncTaskConnection) -> bool:
    """Whether a statement has failed outside of a savepoint, so that the transaction can only be rolled back."""
    return connection.session.transaction_status == TransactionStatus.INERROR


class Transactions:
    """Begins transactions, with the connections of one child.

    Args:
        database: the database of the app.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._idle: list[IdleSession] = []
        self._idle_async: list[IdleSession] = []
        self._engine: Any = None
        self._async_engine: Any = None

    def begin(self, wanted: OwnTransaction, own: OwnFence) -> TaskTransaction:
        """Begin the transaction of an attempt at a ``def`` task, blocking.

        Raises:
            Exception: an error of psycopg or SQLAlchemy: no connection can be opened.
        """
        is_psycopg = wanted.kind is ConnectionKind.PSYCOPG
        transaction = self._by_psycopg(own) if is_psycopg else self._by_alchemy(wanted, own)
        self._database.verified.add(transaction.connection)
        return transaction

    async def begin_async(self, wanted: OwnTransaction, own: OwnFence) -> AsyncTaskTransaction:
        """Begin the transaction of an attempt at an ``async def`` task; see `begin`."""
        is_psycopg = wanted.kind is ConnectionKind.PSYCOPG_ASYNC
        transaction = await (self._by_psycopg_async(own) if is_psycopg else self._by_alchemy_async(wanted, own))
        self._database.verified.add(transaction.connection)
        return transaction

    def close_idle(self) -> None:
        """Close the connections that no attempt uses."""
        for idle in (*self._idle, *self._idle_async):
            idle.pgconn.finish()
        self._idle, self._idle_async = [], []

    def _by_psycopg(self, own: OwnFence) -> TaskTransaction:
        while self._idle:
            idle = self._idle.pop()
            connection = TaskConnection(idle.pgconn, tuple_row)
            connection.prepare_threshold = None
            connection.take_session(idle)
            try:
                task_transaction.begin(self._database, connection, own)
            except psycopg.OperationalError:  # the server has closed it meanwhile
                connection.close()
            else:
                break
        else:
            connection = task_transaction.open_connection(self._database)
            task_transaction.begin(self._database, connection, own)

        def release() -> None:
            if not connection.closed:
                self._idle.append(connection.give_up_session())

        return TaskTransaction(connection, connection, own, self._database, _nothing, release)

    async def _by_psycopg_async(self, own: OwnFence) -> AsyncTaskTransaction:
        while self._idle_async:
            idle = self._idle_async.pop()
            connection = AsyncTaskConnection(idle.pgconn, tuple_row)
            connection.prepare_threshold = None
            connection.take_session(idle)
            try:
                await task_transaction.begin_async(self._database, connection, own)
            except psycopg.OperationalError:
                await connection.close()
            else:
                break
        else:
            connection = await task_transaction.open_connection_async(self._database)
            await task_transaction.begin_async(self._database, connection, own)

        async def release() -> None:
            if not connection.closed:
                self._idle_async.append(connection.give_up_session())

        return AsyncTaskTransaction(connection, connection, own, self._database, _nothing_async, release)

    def _by_alchemy(self, wanted: OwnTransaction, own: OwnFence) -> TaskTransaction:
        engine = self._engine = self._engine or self._open_engine()
        wrapper = engine.connect()
        connection: TaskConnection = wrapper.connection.driver_connection
        try:
            task_transaction.begin(self._database, connection, own)
        except psycopg.OperationalError:  # the server has closed it meanwhile, and probably the other idle ones
            wrapper.invalidate()
            wrapper.close()
            engine.dispose()
            wrapper = engine.connect()
            connection = wrapper.connection.driver_connection
            task_transaction.begin(self._database, connection, own)
        session = wanted.cls(bind=wrapper) if wanted.kind.is_session else None

        def release() -> None:
            with suppress(Exception):  # of the user's event hooks
                if session is not None:
                    session.close()
            if connection.closed:
                wrapper.invalidate()
            wrapper.close()

        argument = wrapper if session is None else session
        flush = _nothing if session is None else session.flush
        return TaskTransaction(argument, connection, own, self._database, flush, release)

    async def _by_alchemy_async(self, wanted: OwnTransaction, own: OwnFence) -> AsyncTaskTransaction:
        engine = self._async_engine = self._async_engine or self._open_async_engine()
        wrapper = await engine.connect()
        connection: AsyncTaskConnection = (await wrapper.get_raw_connection()).driver_connection
        try:
            await task_transaction.begin_async(self._database, connection, own)
        except psycopg.OperationalError:
            await wrapper.invalidate()
            await wrapper.close()
            await engine.dispose()
            wrapper = await engine.connect()
            connection = (await wrapper.get_raw_connection()).driver_connection
            await task_transaction.begin_async(self._database, connection, own)
        session = wanted.cls(bind=wrapper) if wanted.kind.is_session else None

        async def release() -> None:
            with suppress(Exception):
                if session is not None:
                    await session.close()
            if connection.closed:
                await wrapper.invalidate()
            await wrapper.close()

        argument = wrapper if session is None else session
        flush = _nothing_async if session is None else session.flush
        return AsyncTaskTransaction(argument, connection, own, self._database, flush, release)

    def _open_engine(self) -> Any:
        """Make the engine of ``def`` tasks. SQLAlchemy is imported here only, because a task asks for it."""
        alchemy = importlib.import_module("sqlalchemy")
        engine = alchemy.create_engine(_DRIVER, **_POOL)

        def connect(_dialect: object, _record: object, _args: object, options: dict[str, Any]) -> TaskConnection:
            return task_transaction.open_connection(self._database, options.get("context"))

        alchemy.event.listen(engine, "do_connect", connect)
        return engine

    def _open_async_engine(self) -> Any:
        """Make the engine of ``async def`` tasks."""
        alchemy = importlib.import_module("sqlalchemy")
        engine = importlib.import_module("sqlalchemy.ext.asyncio").create_async_engine(_DRIVER, **_POOL)

        def connect(dialect: Any, _record: object, _args: object, options: dict[str, Any]) -> object:
            context = options.get("context")

            async def create() -> AsyncTaskConnection:
                return await task_transaction.open_connection_async(self._database, context)

            return dialect.dbapi.connect(async_creator_fn=create)

        alchemy.event.listen(engine.sync_engine, "do_connect", connect)
        return engine


def _nothing() -> None:
    """There is nothing to flush."""


async def _nothing_async() -> None:
    """There is nothing to flush."""
