"""Calls over a connection of the caller, in the transaction that is open there. The caller ends the transaction.

A connection is recognised by the names of its classes, so that none of the supported libraries has to be imported. A
failed call fails the transaction of the caller, as any failed statement does. There is deliberately no savepoint: if
the caller ignores the error and commits, nothing is committed, instead of only the caller's own statements.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import psycopg
from psycopg import AsyncCursor, Cursor
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from horsies.config.postgres import DEV_URL_VARIABLE
from horsies.db.adapt import RawJson, RawText
from horsies.db.connect import Database
from horsies.db.errors import is_retryable, sqlstate
from horsies.db.operations import Call, CallFailedError, CallRefusedError, Rows
from horsies.db.queries.identity import DatabaseIdentity, DatabasePlace, database_identity, find_identity
from horsies.db.queries.worker import notify_wake_within
from horsies.masking import mask_secrets

_A_TRANSACTION = "connection= has no open transaction: begin one first, so that the task becomes part of it"
_A_POSTGRES = "connection= is connected to a database that is not PostgreSQL"
_ACCEPTED = "an open connection of psycopg, asyncpg, SQLAlchemy (or a session) or Django"
_NOT_THERE = ("3F000", "42883")  # no such schema, no such function


class _Ask(Enum):
    """Requests that `_in_transaction` makes in addition to calls over the caller's connection."""

    DRIVER_CONNECTION = "the driver's own connection below the caller's"
    APP_IDENTITY = "the identity of the app's database"


type _Steps[R] = Generator[Call[Any] | _Ask, Any, R]


@dataclass(frozen=True, slots=True)
class _ConnectionAdapter[D, A]:
    """The adapter for the connections of one library.

    Attributes:
        driver: Returns the underlying driver connection, which lives as long as the session with the server.
        execute: Makes a call over the caller's connection.
    """

    driver: Callable[[Any], D]
    execute: Callable[[Any, Database, Call[Any]], A]


def ask[R](database: Database, call: Call[R]) -> R:
    """Make a call and its hint over the connection of the call, blocking.

    Raises:
        CallRefusedError: The connection is unsuitable. The transaction of the caller is unchanged.
        CallFailedError: The transaction of the caller has failed, or its connection is lost.
    """
    way = _find_way(call.connection, _BLOCKING, _AWAITED, "is asynchronous: use the _async method")
    steps, answer = _in_transaction(database, call), None
    with _failures():
        try:
            while True:
                match steps.send(answer):
                    case _Ask.DRIVER_CONNECTION:
                        answer = way.driver(call.connection)
                    case _Ask.APP_IDENTITY:
                        answer = database.read_identity()
                    case Call() as asked:
                        answer = asked.decode(way.execute(call.connection, database, asked))
        except StopIteration as finished:
            return finished.value


async def ask_async[R](database: Database, call: Call[R]) -> R:
    """Like `ask`, for asyncio."""
    way = _find_way(call.connection, _AWAITED, _BLOCKING, "would block the event loop: use the method without _async")
    steps, answer = _in_transaction(database, call), None
    with _failures():
        try:
            while True:
                match steps.send(answer):
                    case _Ask.DRIVER_CONNECTION:
                        answer = await way.driver(call.connection)
                    case _Ask.APP_IDENTITY:
                        answer = await asyncio.to_thread(database.read_identity)
                    case Call() as asked:
                        answer = asked.decode(await way.execute(call.connection, database, asked))
        except StopIteration as finished:
            return finished.value


def _in_transaction[R](database: Database, call: Call[R]) -> _Steps[R]:
    """Make a call, after verifying once per connection that it is connected to the database of the app."""
    driver: object = yield _Ask.DRIVER_CONNECTION
    if not _is_verified(database, driver):
        yield from _check_database(database)
        with suppress(TypeError):  # connections without weak references are verified each time
            database.verified.add(driver)
    return (yield _joined(call))


def _is_verified(database: Database, driver: object) -> bool:
    with suppress(TypeError):
        return driver in database.verified
    return False


def _check_database(database: Database) -> _Steps[None]:
    """Reject a connection to another database, in which no worker of the app would see the task."""
    place: DatabasePlace = yield find_identity()
    found: DatabaseIdentity | None = (yield database_identity()) if place.has_schema else None
    known = database.own_identity
    if known is not None and found is not None and known[1].matches(found):
        return
    # Read the identity of the app's database for the first time, or again: it may have been restored or upgraded.
    own_place: DatabasePlace
    own: DatabaseIdentity
    own_place, own = yield _Ask.APP_IDENTITY
    if found is None or not own.matches(found):
        there = f"which has no schema {database.schema!r} of this release" if found is None else found.describe()
        source = f"the environment variable {DEV_URL_VARIABLE}" if os.environ.get(DEV_URL_VARIABLE) else "the app's URL"
        message = (
            f"connection= is connected to {place.describe()} ({there}), but the app uses {own_place.describe()} "
            f"({own.describe()}), which {source} names: pass a connection to that database, or change the URL"
        )
        raise CallRefusedError(message, retryable=False)


def _find_way[W](connection: object, ways: Mapping[str, W], others: Mapping[str, object], what_of_others: str) -> W:
    names = [f"{each.__module__}.{each.__qualname__}" for each in type(connection).__mro__]
    if way := next((ways[name] for name in names if name in ways), None):
        return way
    takes = what_of_others if not others.keys().isdisjoint(names) else f"is not supported: pass {_ACCEPTED}"
    msg = f"connection= is of the type {names[0]}, which {takes}"
    raise CallRefusedError(msg, retryable=False)


def _joined[R](call: Call[R]) -> Call[R]:
    """Combine a call and its hint into one statement with values that every driver accepts.

    The hint is always a wake-up notice. In the transaction of the caller, it is left out while the notification queue
    is nearly full, because a full queue would fail that transaction.

    JSON and encoded text are passed as text, because the caller may have configured the driver to encode values as JSON
    itself.
    """
    sql = call.sql if call.hint is None else f"{call.sql}, {notify_wake_within().sql.partition(' ')[2]}"
    plain = (str(each, "utf-8") if isinstance(each, RawJson | RawText) else each for each in call.params)
    return replace(call, sql=sql.replace("::json", "::text::json"), params=tuple(plain))


def _by_psycopg(connection: psycopg.Connection[Any], database: Database, call: Call[Any]) -> Rows:
    _need(_is_open(connection), _A_TRANSACTION)
    with Cursor(connection, row_factory=tuple_row) as cursor:
        cursor.execute(database.statement(call), call.params)
        return cursor.fetchall() if cursor.description is not None else []


async def _by_async_psycopg(connection: psycopg.AsyncConnection[Any], database: Database, call: Call[Any]) -> Rows:
    _need(_is_open(connection), _A_TRANSACTION)
    async with AsyncCursor(connection, row_factory=tuple_row) as cursor:
        await cursor.execute(database.statement(call), call.params)
        return await cursor.fetchall() if cursor.description is not None else []


def _is_open(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> bool:
    """Whether a statement will be part of a transaction: outside of autocommit, the first statement begins one."""
    return not (connection.autocommit and connection.info.transaction_status == TransactionStatus.IDLE)


async def _by_asyncpg(connection: Any, database: Database, call: Call[Any]) -> Rows:
    _need(connection.is_closed() or connection.is_in_transaction(), _A_TRANSACTION)
    return await connection.fetch(database.numbered(call).decode(), *call.params)


def _sqlalchemy_connection(connection: Any) -> Any:
    """Return the connection of a session, or the connection itself."""
    return connection.connection() if callable(connection.connection) else connection


def _sqlalchemy_driver(connection: Any) -> object:
    return _sqlalchemy_connection(connection).connection.driver_connection


def _by_sqlalchemy(connection: Any, database: Database, call: Call[Any]) -> Rows:
    connection = _sqlalchemy_connection(connection)
    _need(connection.dialect.name == "postgresql", _A_POSTGRES)
    _need(not connection.connection.dbapi_connection.autocommit, _A_TRANSACTION)
    sql_of = database.numbered if connection.dialect.paramstyle == "numeric_dollar" else database.statement
    result = connection.exec_driver_sql(sql_of(call).decode(), call.params)
    return result.fetchall() if result.returns_rows else []


async def _by_async_sqlalchemy(connection: Any, database: Database, call: Call[Any]) -> Rows:
    return await connection.run_sync(_by_sqlalchemy, database, call)


def _by_django(connection: Any, database: Database, call: Call[Any]) -> Rows:
    _need(connection.vendor == "postgresql", _A_POSTGRES)
    _need(not connection.get_autocommit(), _A_TRANSACTION)
    with connection.cursor() as cursor:
        cursor.execute(database.statement(call).decode(), call.params)
        return cursor.fetchall() if cursor.description is not None else []


def _itself(connection: object) -> object:
    return connection


async def _itself_async(connection: object) -> object:
    return connection


async def _asyncpg_driver(connection: Any) -> object:
    return getattr(connection, "_con", connection)  # a pool hands out a new proxy each time


async def _async_sqlalchemy_driver(connection: Any) -> object:
    return await connection.run_sync(_sqlalchemy_driver)


def _django_driver(connection: Any) -> object:
    return connection.connection


type _AwaitedAdapter = _ConnectionAdapter[Awaitable[object], Awaitable[Rows]]
_SQLALCHEMY = _ConnectionAdapter(_sqlalchemy_driver, _by_sqlalchemy)
_DJANGO = _ConnectionAdapter(_django_driver, _by_django)
_ASYNCPG: _AwaitedAdapter = _ConnectionAdapter(_asyncpg_driver, _by_asyncpg)
_ASYNC_SQLALCHEMY: _AwaitedAdapter = _ConnectionAdapter(_async_sqlalchemy_driver, _by_async_sqlalchemy)
_BLOCKING: dict[str, _ConnectionAdapter[object, Rows]] = {
    "psycopg.Connection": _ConnectionAdapter(_itself, _by_psycopg),
    "sqlalchemy.engine.base.Connection": _SQLALCHEMY,
    "sqlalchemy.orm.session.Session": _SQLALCHEMY,
    "sqlalchemy.orm.scoping.scoped_session": _SQLALCHEMY,
    "django.utils.connection.ConnectionProxy": _DJANGO,
    "django.db.backends.base.base.BaseDatabaseWrapper": _DJANGO,
}
_AWAITED: dict[str, _AwaitedAdapter] = {
    "psycopg.AsyncConnection": _ConnectionAdapter(_itself_async, _by_async_psycopg),
    "asyncpg.connection.Connection": _ASYNCPG,
    "asyncpg.pool.PoolConnectionProxy": _ASYNCPG,
    "sqlalchemy.ext.asyncio.engine.AsyncConnection": _ASYNC_SQLALCHEMY,
    "sqlalchemy.ext.asyncio.session.AsyncSession": _ASYNC_SQLALCHEMY,
}


def _need(is_there: bool, what: str) -> None:  # noqa: FBT001 - a condition
    if not is_there:
        raise CallRefusedError(what, retryable=False)


@contextmanager
def _failures() -> Generator[None]:
    """Convert exceptions of the caller's library, which may wrap an error of the driver, to `CallFailedError`."""
    try:
        yield
    except CallFailedError:
        raise
    except Exception as error:  # the exception classes of these libraries are not imported here
        while isinstance(cause := getattr(error, "orig", None) or error.__cause__, Exception):
            error = cause
        # Use only the first line of the innermost message: the rest may contain the row or the parameters.
        primary = error.diag.message_primary if isinstance(error, psycopg.Error) else None
        hint = "; connection= is not connected to the database of the app" if sqlstate(error) in _NOT_THERE else ""
        text = mask_secrets(f"{type(error).__name__}: {primary or str(error).partition('\n')[0]}{hint}")
        raise CallFailedError(text, retryable=is_retryable(error)) from error
