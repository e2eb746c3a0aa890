"""The queue of a test on a connection of the test, in the transaction that is open there.

Each call is made in a savepoint of that transaction, or in a transaction if none is open. So the calls see rows that
the test has not committed, a failed call does not end the transaction, and a rollback removes everything.
"""

import math
import threading
import time
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Protocol, override

import psycopg
from psycopg.pq import PGconn, TransactionStatus
from psycopg.pq.abc import PGconn as AnyPGconn
from psycopg.rows import tuple_row

from horsies.config.app import AppConfig
from horsies.db.adapt import register_adapters
from horsies.db.bounded import BoundedConnection
from horsies.db.connect import Database
from horsies.db.errors import CALL_ERRORS, call_failed
from horsies.db.operations import (
    UNSET,
    Call,
    CallFailedError,
    Feed,
    Notice,
    Pause,
    Rollback,
    Step,
    Transaction,
    Wait,
    Watch,
    Within,
)
from horsies.db.pipeline import call_within
from horsies.db.sqlfiles import admin, bind
from horsies.producer import caller_connection
from horsies.producer.async_driver import AsyncDriver
from horsies.producer.sync_driver import SyncDriver
from horsies.producer.waiter import Waiters
from horsies.testing.errors import QueueTestError
from horsies.testing.faults import QueueDrivers

_POLL_S = 0.05


class ConnectionOwner(Protocol):
    """The connection of a library that a test uses, above the one of psycopg."""

    def current(self) -> "psycopg.Connection[Any]":
        """Return the connection of psycopg, which is opened if it is closed."""
        ...


class SharedConnection:
    """Makes calls over the connection of a test.

    psycopg has two connection objects for the session of PostgreSQL: that of the test with its conversion of values,
    and a second one with that of horsies.

    Args:
        owner: the connection of the test.
        database: the database of the app.
    """

    def __init__(self, owner: ConnectionOwner, database: Database) -> None:
        self._owner = owner
        self._database = database
        self._lock = threading.RLock()
        self._first: psycopg.Connection[Any] | None = None
        self._second: BoundedConnection | None = None
        self._handler: Any = None

    @property
    def pgconn(self) -> AnyPGconn:
        """The session with the server."""
        return self._connection().pgconn

    @property
    def is_in_transaction(self) -> bool:
        """Whether the test has begun a transaction."""
        first = self._owner.current()
        return not first.autocommit or first.pgconn.transaction_status != TransactionStatus.IDLE

    @contextmanager
    def block(self) -> Generator[BoundedConnection]:
        """Provide the connection in a savepoint, or in a transaction if none is open."""
        with self._lock:
            connection = self._connection()
            with connection.transaction():
                yield connection

    @contextmanager
    def attempt(self, is_broken: Callable[[], bool]) -> Generator[None]:
        """Run an attempt in a savepoint, if a transaction is open. Other threads may make calls meanwhile.

        A worker has a separate connection, so a statement that fails there ends no transaction. Here it would end that
        of the test, so the attempt is rolled back to the savepoint.

        Args:
            is_broken: called after the attempt: whether the library of the test refuses to go on in the transaction.
        """
        if not self.is_in_transaction:
            yield
            return
        connection = self._connection()
        if connection.pgconn.transaction_status != TransactionStatus.INTRANS:
            yield
            return
        with connection.transaction():
            yield
            if connection.pgconn.transaction_status == TransactionStatus.INERROR or is_broken():
                raise psycopg.Rollback

    def savepoint(self) -> AbstractContextManager[BoundedConnection]:
        """Provide the connection in a savepoint, as `block` does. Other threads may make calls meanwhile."""
        return _entered(self._connection())

    def round_trip(self, *groups: Sequence[Call[Any]]) -> list[list[Any]]:
        """Make calls; each group has a savepoint. A group of notices has no replies if it failed.

        Raises:
            CallFailedError: a call failed.
        """
        return [self._in_block(group) for group in groups]

    def _in_block(self, group: Sequence[Call[Any]]) -> list[Any]:
        only_notifies = bool(group) and all(isinstance(call, Notice) for call in group)
        try:
            with self.block() as connection:
                return self.ask_all(connection, group)
        except CallFailedError:
            if not only_notifies:
                raise
            return []
        except psycopg.Error as error:
            raise call_failed(error) from error

    def ask_all(self, connection: BoundedConnection, calls: Sequence[Call[Any]]) -> list[Any]:
        """Make calls in the open transaction.

        Raises:
            CallFailedError: a call failed.
        """
        replies: list[Any] = []
        for call in calls:
            try:
                replies.append(connection.wait(call_within(self._database, connection, call)))
            except CALL_ERRORS as error:
                raise call_failed(error, call) from error
        return replies

    def execute(self, name: str, params: Any = None) -> list[tuple[Any, ...]]:
        """Run a statement from a file of ``sql/admin``, and return its rows."""
        with self.block() as connection:
            cursor = connection.execute(bind(admin(name), self._database.schema), params)
            return cursor.fetchall() if cursor.description else []

    def close(self) -> None:
        """Leave the session to the test."""
        first, second = self._first, self._second
        self._first = self._second = None
        if second is not None:
            session, second.pgconn = second.pgconn, PGconn()
            if first is not None and not first.closed:
                session.notice_handler, session.notify_handler = self._handler

    def _connection(self) -> BoundedConnection:
        """Return the second connection object. Outside of autocommit mode, a transaction has begun then."""
        first = self._owner.current()
        if first.pgconn.transaction_status == TransactionStatus.IDLE and not first.autocommit:
            first.execute(b"")  # psycopg begins the transaction
        if self._second is None or self._first is not first:
            self.close()
            self._handler = first.pgconn.notice_handler, first.pgconn.notify_handler
            second = BoundedConnection(first.pgconn, tuple_row)
            second.prepare_threshold = None
            register_adapters(second.adapters)
            self._first, self._second = first, second
            self._database.verified.add(first)
        return self._second


@contextmanager
def _entered(connection: BoundedConnection) -> Generator[BoundedConnection]:
    with connection.transaction():
        yield connection


class SharedSession:
    """Makes the calls of the testing kit itself over the connection of a test."""

    def __init__(self, shared: SharedConnection) -> None:
        self.round_trip = shared.round_trip
        self.execute = shared.execute


class _NoTicket:
    """The ticket of a wait in a test: nothing can happen meanwhile."""

    def close(self) -> None:
        """Nothing to do."""


class SharedDriver(SyncDriver):
    """Runs operations over the connection of a test, blocking."""

    def __init__(self, database: Database, waiters: Waiters, shared: SharedConnection) -> None:
        super().__init__(database, waiters)
        self.shared = shared

    def execute(self, step: Step) -> Any:
        """Execute one step of an operation."""
        match step:
            case Watch():
                return _NoTicket()
            case Wait(seconds=seconds):
                return self._wait(seconds)
            case Rollback(transaction=transaction):
                return _roll_back(transaction)
            case _:
                return super()._execute(step)

    _execute = execute

    def _wait(self, seconds: float) -> None:
        if math.isinf(seconds):
            msg = (
                "a task that has not ended is waited for without limit, and nothing runs it meanwhile: call "
                "queue.drain() first"
            )
            raise QueueTestError(msg)
        time.sleep(min(seconds, _POLL_S))

    @override
    def _call[R](self, call: Call[R]) -> R:
        try:
            if call.connection is not UNSET:
                return caller_connection.ask(self._database, call)
            return self.shared.round_trip(*call.groups)[0][0]
        except CALL_ERRORS as error:
            raise call_failed(error) from error

    @override
    def _within(self, step: Within) -> list[Any]:
        transaction = step.transaction
        try:
            if transaction.resource is None:
                stack = ExitStack()
                transaction.resource = (stack, stack.enter_context(self.shared.block()))
            stack, connection = transaction.resource
            replies = self.shared.ask_all(connection, step.calls)
            if step.commit_with is not None:
                transaction.resource = None
                stack.close()
                self.shared.round_trip([step.commit_with])
        except BaseException as error:
            _roll_back(transaction)
            if isinstance(error, CALL_ERRORS):
                raise call_failed(error) from error
            raise
        return replies


type InThread = Callable[[Callable[[Step], Any], Step], Awaitable[Any]]


class AsyncSharedDriver(AsyncDriver):
    """Runs operations over the connection of a test on the running event loop.

    Args:
        database: the database.
        waiters: not used: nothing notifies a test.
        blocking: executes the steps that use the connection.
        in_thread: calls it in the thread of the test.
    """

    def __init__(self, database: Database, waiters: Waiters, blocking: SharedDriver, in_thread: InThread) -> None:
        super().__init__(database, waiters)
        self._blocking = blocking
        self._in_thread = in_thread

    @override
    def _execute(self, step: Step) -> Awaitable[Any]:
        if isinstance(step, Feed | Pause):
            return super()._execute(step)
        if isinstance(step, Call) and step.connection is not UNSET:
            return self._over_caller_connection(step)
        return self._in_thread(self._blocking.execute, step)

    async def _over_caller_connection(self, step: Call[Any]) -> Any:
        try:
            return await caller_connection.ask_async(self._database, step)
        except CALL_ERRORS as error:
            raise call_failed(error) from error


class SharedDrivers(QueueDrivers):
    """The drivers of an app over the connection of a test.

    Attributes:
        shared: the connection.
    """

    def __init__(self, config: AppConfig, owner: ConnectionOwner, in_thread: InThread) -> None:
        super().__init__(config)
        self.shared = SharedConnection(owner, self._database)
        self._sync = blocking = SharedDriver(self._database, self._waiters, self.shared)
        self._async = AsyncSharedDriver(self._database, self._waiters, blocking, in_thread)

    @override
    def close(self) -> None:
        """Leave the session to the test."""
        super().close()
        self.shared.close()


def _roll_back(transaction: Transaction) -> None:
    """Roll back to the savepoint, if it exists."""
    opened, transaction.resource = transaction.resource, None
    if opened is not None:
        with opened[0]:
            raise psycopg.Rollback
