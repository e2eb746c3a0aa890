"""Letting an app use the database of a test, whatever URL it was made with."""

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakSet

import psycopg
from pydantic import SecretStr

from horsies.config.app import AppConfig
from horsies.config.postgres import DEFAULT_SCHEMA, DEV_URL_VARIABLE
from horsies.db.bounded import BoundedConnection
from horsies.db.connect import Database
from horsies.masking import mask_secrets
from horsies.producer.drivers import Drivers
from horsies.testing.databases import is_clone, prepare_schema, shared_databases
from horsies.testing.errors import QueueTestError
from horsies.testing.faults import QueueDrivers
from horsies.testing.jobs import JobRunner
from horsies.testing.session import KitSession, PoolSession, TaskClock
from horsies.worker.runtime.transactions import Transactions

if TYPE_CHECKING:
    from horsies.app import Horsies


_of_queues: WeakSet[Database] = WeakSet()


def is_of_queue(database: Database) -> bool:
    """Whether a queue has redirected its app to this database."""
    return database in _of_queues


class Opened(NamedTuple):
    """The parts of a queue that exist within its block.

    Attributes:
        database_url: The URL of the database.
        drivers: The drivers that the app uses.
        session: Makes the calls of the testing kit itself.
        clock: The clock of the database.
        jobs: Runs tasks.
        transactions: Begins the transactions of transactional tasks.
    """

    database_url: str
    drivers: QueueDrivers
    session: KitSession
    clock: TaskClock
    jobs: JobRunner
    transactions: Transactions


def checked_app(app: "Horsies | None", *, is_in_django: bool) -> "Horsies":
    """Return the app of a queue; None stands for that of the back end ``default`` of ``django.tasks``.

    Raises:
        TypeError: It is no `Horsies` object.
    """
    if app is None and is_in_django:
        backend: Any = import_module("horsies.contrib.django.backend")
        return backend.find_backend("default").app
    if app is None or not isinstance(app, import_module("horsies.app").Horsies):
        msg = f"TestQueue takes the app, a Horsies object: TestQueue(app); got {app!r}"
        raise TypeError(msg)
    return app


@contextmanager
def on_django_connection(app: "Horsies", connection: object) -> Generator[Opened]:
    """Let an app use Django's connection to its test database within the block. Django is imported only here.

    Raises:
        QueueTestError: It is no connection of Django to a test database on PostgreSQL, with psycopg 3.
    """
    try:
        module: Any = import_module("horsies.testing.django_connection")
    except ImportError as error:
        raise not_of_django(connection) from error
    with module.on_django_connection(app, connection) as opened:
        yield opened


def not_of_django(connection: object) -> QueueTestError:
    """Make the error for a connection that a queue cannot use; most often it is one of psycopg or of SQLAlchemy."""
    return QueueTestError(
        f"connection= takes a connection of Django, such as django.db.connection, got {connection!r}. In tests without "
        "Django, use TestQueue(app) and connect the code under test to queue.database_url. Its sends with connection= "
        "become visible to queue.drain() when it commits"
    )


@contextmanager
def on_database(app: "Horsies", url: str) -> Generator[Opened]:
    """Let an app use the database of a URL within the block.

    Raises:
        QueueTestError: The database cannot be opened, or it is not one of tests.
        ConfigurationError: The URL is no URL of PostgreSQL.
    """
    with redirected(app, url, QueueDrivers) as drivers:
        schema = app.config.broker.schema_name
        if schema != DEFAULT_SCHEMA or not is_clone(url):
            with open_session(drivers.database) as connection:
                prepare_schema(connection, schema)
        session = PoolSession(drivers)
        jobs, transactions = JobRunner(), Transactions(drivers.database)
        try:
            yield Opened(url, drivers, session, TaskClock(session), jobs, transactions)
        finally:
            jobs.close()
            transactions.close_idle()


def open_session(database: Database) -> BoundedConnection:
    """Open a connection to the database of a test.

    Raises:
        QueueTestError: It cannot be opened.
    """
    try:
        return database.connect()
    except psycopg.Error as error:
        reason = mask_secrets(str(error)).strip().replace("\n", " ")
        msg = f"the database of the test, {database.config.masked_url()}, cannot be opened: {reason}"
        raise QueueTestError(msg) from None


@contextmanager
def new_database() -> Generator[str]:
    """Make a database for a test that does not use the fixture of pytest."""
    databases = shared_databases()
    url = databases.new()
    try:
        yield url
    finally:
        databases.drop(url)


@contextmanager
def redirected[D: QueueDrivers](app: "Horsies", url: str, make: Callable[[AppConfig], D]) -> Generator[D]:
    """Let an app use another database within the block, whose schema is prepared.

    Args:
        app: The app.
        url: The URL of the database.
        make: Makes the drivers for a configuration.
    """
    drivers = app.producer.runner
    if not isinstance(drivers, Drivers):
        msg = f"{app!r} runs its operations with a {type(drivers).__name__}, which cannot be redirected"
        raise QueueTestError(msg)
    before = app.config
    overriding_url = os.environ.pop(DEV_URL_VARIABLE, None)  # it would override the database of the test
    direct = {"database_url": SecretStr(url), "session_database_url": None, "pgbouncer_transaction_mode": False}
    config = before.model_copy(update={"broker": before.broker.model_copy(update=direct)})
    during = make(config)
    during.assume_prepared()
    _of_queues.add(during.database)
    app.config = config
    try:
        with drivers.replaced(during):
            yield during
    finally:
        during.close_all()
        app.config = before
        if overriding_url is not None:
            os.environ[DEV_URL_VARIABLE] = overriding_url
