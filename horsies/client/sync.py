"""The blocking driver."""

import os
import threading
import time
import weakref
from typing import Any

import psycopg
from psycopg_pool import ConnectionPool, PoolTimeout

from horsies.client.waiting import Waiters
from horsies.db.connect import Database, PooledConnection, needs_ping
from horsies.db.failures import call_failed
from horsies.db.operations import Call, CallFailedError, Operation, Pause, Step, Wait, Watch

type Pool = ConnectionPool[PooledConnection]


class SyncWaiter:
    """A ticket on which a thread can block."""

    __slots__ = ("_waiter", "ended")

    def __init__(self, waiters: Waiters, watch: Watch) -> None:
        """Begin to watch."""
        self.ended = threading.Event()
        self._waiter = waiters.watch(watch.task_id, self.ended.set)

    def wait(self, seconds: float) -> None:
        """Block until a notice came since the last wait, or the seconds are over."""
        self.ended.wait(seconds)
        self.ended.clear()

    def close(self) -> None:
        """Stop watching."""
        self._waiter.close()


class SyncDriver:
    """Carries operations out, blocking. Its pool is opened at first use, and anew in a forked child."""

    def __init__(self, database: Database, waiters: Waiters) -> None:
        """Nothing is opened yet."""
        self._database = database
        self._waiters = waiters
        self._lock = threading.Lock()
        self._pool: Pool | None = None
        self._pid = 0

    def run[R](self, operation: Operation[R]) -> R:
        """Carry an operation out."""
        try:
            step = next(operation)
            while True:
                try:
                    answer = self._take(step)
                except CallFailedError as failure:
                    step = operation.throw(failure)
                else:
                    step = operation.send(answer)
        except StopIteration as finished:
            return finished.value

    def close(self) -> None:
        """Close the pool."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None and self._pid == os.getpid():
            pool.close()

    def _take(self, step: Step) -> Any:
        match step:
            case Call():
                return self._call(step)
            case Watch():
                return SyncWaiter(self._waiters, step)
            case Wait(ticket=SyncWaiter() as waiter, seconds=seconds):
                return waiter.wait(seconds)
            case Pause(seconds=seconds):
                return time.sleep(seconds)
            case Wait():
                msg = f"a ticket of another driver: {step.ticket!r}"
                raise TypeError(msg)

    def _call[R](self, call: Call[R]) -> R:
        try:
            with self._open_pool().connection() as connection:
                if call.hint is None:
                    return call.decode(connection.execute(self._database.statement(call), call.params).fetchall())
                with connection.pipeline() as pipeline:
                    cursor = connection.execute(self._database.statement(call), call.params)
                    pipeline.sync()
                    connection.execute(self._database.statement(call.hint))
                    return call.decode(cursor.fetchall())
        except PoolTimeout as error:
            raise self._why_no_connection(error) from error
        except psycopg.Error as error:
            raise call_failed(error) from error

    def _why_no_connection(self, timeout: PoolTimeout) -> CallFailedError:
        """The pool only says that time ran out: a connection of our own tells why."""
        try:
            self._database.connect().close()
        except psycopg.Error as error:
            return call_failed(error)
        return call_failed(timeout)

    def _open_pool(self) -> Pool:
        if self._pool is not None and self._pid == os.getpid():
            return self._pool
        self._database.prepare()
        with self._lock:
            if self._pool is None or self._pid != os.getpid():
                self._pool, self._pid = self._new_pool(), os.getpid()
            return self._pool

    def _configure(self, connection: PooledConnection) -> None:
        if self._database.limit_statements is not None:
            connection.execute(self._database.limit_statements)

    def _new_pool(self) -> Pool:
        config = self._database.config
        pool = ConnectionPool(
            self._database.url,
            connection_class=PooledConnection,
            kwargs=self._database.connect_kwargs(),
            min_size=0,
            max_size=config.pool_size + config.max_overflow,
            timeout=config.pool_timeout,
            max_lifetime=config.pool_recycle,
            num_workers=1,
            configure=self._configure,
            check=check_idle if config.pool_pre_ping else None,
            open=True,
            name="horsies",
        )
        weakref.finalize(self, pool.close)
        return pool


def check_idle(connection: PooledConnection) -> None:
    """Ping a connection that was idle for a while."""
    if needs_ping(connection):
        ConnectionPool.check_connection(connection)
