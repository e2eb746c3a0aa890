"""`TestQueue(connection=django.db.connection)`: the queue of a test in the test database of Django.

The schema and the clock that tests can move are created there once, over a separate connection, so that they stay when
Django rolls the transaction of a test back. Everything else goes over Django's connection.
"""

from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, cast, override

import psycopg
from asgiref.sync import async_to_sync, sync_to_async
from django.core import mail
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.base.creation import TEST_DATABASE_PREFIX
from django.utils.connection import ConnectionProxy
from psycopg import errors

from horsies.config.app import AppConfig
from horsies.contrib.django.connections import database_url
from horsies.db.sqlfiles import admin, bind
from horsies.testing.databases import is_prepared, prepare_schema
from horsies.testing.errors import QueueTestError
from horsies.testing.faults import LostWorker
from horsies.testing.jobs import JobRunner
from horsies.testing.redirection import Opened, not_of_django, open_session, redirected
from horsies.testing.session import TaskClock
from horsies.testing.shared_connection import SharedConnection, SharedDrivers, SharedSession
from horsies.testing.shared_transactions import SharedTransactions
from horsies.worker.ipc import Job, Report
from horsies.worker.runtime.executor import Executor

if TYPE_CHECKING:
    from horsies.app import Horsies


class DjangoJobs(JobRunner):
    """Runs jobs as Django runs its own code: the ORM is used in the thread of the test, which owns the connection."""

    def __init__(self, owner: "_Owner", shared: SharedConnection) -> None:
        super().__init__()
        self._owner = owner
        self._shared = shared

    @override
    def run(self, executor: Executor, job: Job) -> Report | LostWorker:
        """Run a job from synchronous code; an ``async def`` task runs on an event loop of asgiref."""
        if executor.is_async(job):
            return async_to_sync(self.run_async)(executor, job)
        with self._attempt():
            return super().run(executor, job)

    @override
    async def run_async(self, executor: Executor, job: Job) -> Report | LostWorker:
        """Run a job on the running event loop; see `JobRunner.run_async`."""
        with self._attempt():
            return await super().run_async(executor, job)

    @contextmanager
    def _attempt(self) -> Generator[None]:
        """Undo the writes of an attempt that would make the transaction of the test unusable, as Django sees it too."""
        wrapper = self._owner.wrapper
        before = wrapper.needs_rollback
        with self._shared.attempt(lambda: wrapper.needs_rollback and not before):
            yield
        wrapper.needs_rollback = before

    @override
    async def in_thread[A, R](self, fn: Callable[[A], R], argument: A) -> R:
        """Call a function of a task in the thread of the test."""
        return await sync_to_async(fn)(argument)

    @override
    async def call[**P, R](self, fn: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a blocking function of the testing kit in the thread of the test."""
        return await sync_to_async(fn)(*args, **kwargs)


class _Owner:
    """Django's connection to a test database.

    Args:
        wrapper: the connection.
    """

    def __init__(self, wrapper: BaseDatabaseWrapper) -> None:
        self.wrapper = wrapper

    def current(self) -> "psycopg.Connection[Any]":
        """Return the connection of psycopg, which is opened if it is closed."""
        found: Any = self.wrapper.connection
        if found is None or found.closed:
            self.wrapper.ensure_connection()
            found = self.wrapper.connection
        return cast("psycopg.Connection[Any]", found)


@contextmanager
def on_django_connection(app: "Horsies", connection: object) -> Generator[Opened]:
    """Let an app use Django's connection to its test database within the block.

    Raises:
        QueueTestError: It is no connection of Django, does not use psycopg 3, or leads to no test database.
    """
    wrapper = _checked(connection)
    owner = _Owner(wrapper)
    url = database_url(wrapper.alias)

    def drivers_for(config: AppConfig) -> SharedDrivers:
        return SharedDrivers(config, owner, _in_thread)

    with _blocks_kept_open(), redirected(app, url, drivers_for) as drivers:
        schema = app.config.broker.schema_name
        if not is_prepared(owner.current(), schema):
            with open_session(drivers.database) as separate:
                prepare_schema(separate, schema)
                with suppress(errors.LockNotAvailable), separate.transaction():  # rows of a run that was killed
                    separate.execute(admin("limit_lock_waits").encode())
                    separate.execute(bind(admin("empty_tables"), schema))
        session = SharedSession(drivers.shared)
        jobs, transactions = DjangoJobs(owner, drivers.shared), SharedTransactions(drivers.database, drivers.shared)
        _empty_tables(drivers.shared)
        try:
            yield Opened(url, drivers, session, TaskClock(session), jobs, transactions)
        finally:
            jobs.close()
            transactions.close_idle()
            with suppress(psycopg.Error):  # the connection was lost, or its transaction has failed
                _empty_tables(drivers.shared)


@contextmanager
def _blocks_kept_open() -> Generator[None]:
    """Let Django's `close_old_connections`, which hooks of the app call around tasks, spare connections in a block.

    No atomic block is open around the task of a worker. Here it is that of the `TestCase`, and closing its connection
    would fail the test.
    """
    wrappers: Any = BaseDatabaseWrapper
    close = wrappers.close_if_unusable_or_obsolete

    def close_unless_in_block(wrapper: BaseDatabaseWrapper) -> None:
        if not wrapper.in_atomic_block:
            close(wrapper)

    wrappers.close_if_unusable_or_obsolete = close_unless_in_block
    try:
        yield
    finally:
        wrappers.close_if_unusable_or_obsolete = close


def _empty_tables(shared: SharedConnection) -> None:
    """Delete the rows of earlier tests, unless a transaction is open, which Django rolls back."""
    if not shared.is_in_transaction:
        shared.execute("empty_tables")


async def _in_thread(fn: Callable[[Any], Any], argument: object) -> Any:
    return await cast("Awaitable[Any]", sync_to_async(fn)(argument))


def _checked(connection: object) -> BaseDatabaseWrapper:
    """Return Django's connection of this thread, after checking that a test may use it."""
    if not isinstance(connection, ConnectionProxy | BaseDatabaseWrapper):
        raise not_of_django(connection)
    wrapper = connections[cast("Any", connection).alias]
    place = f"the database {wrapper.alias!r} of DATABASES"
    if wrapper.vendor != "postgresql":
        msg = f"connection= leads to {place}, which is {wrapper.display_name} instead of PostgreSQL"
        raise QueueTestError(msg)
    if not _is_test_database(wrapper):
        msg = (
            f"connection= leads to {place}, {wrapper.settings_dict['NAME']!r}, which is no test database of Django: "
            "create the queue in a test that the test runner of Django or pytest-django runs, in setUp for example"
        )
        raise QueueTestError(msg)
    wrapper.cursor().close()  # Django refuses this in a test that may not use the database
    if not isinstance(cast("object", wrapper.connection), psycopg.Connection):
        msg = f"{place} uses psycopg 2, but horsies needs psycopg 3: uninstall psycopg2 and install psycopg"
        raise QueueTestError(msg)
    return wrapper


def _is_test_database(wrapper: BaseDatabaseWrapper) -> bool:
    """Whether the test runner has replaced the database by a test database, or a clone of it for a parallel test."""
    name = str(wrapper.settings_dict["NAME"])
    own = wrapper.settings_dict["TEST"]["NAME"]
    return hasattr(mail, "outbox") and (
        name.startswith(TEST_DATABASE_PREFIX) or (own is not None and (name == own or name.startswith(f"{own}_")))
    )
