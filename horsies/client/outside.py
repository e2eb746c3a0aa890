"""The caller's own connection: a call is made in the transaction that is open there, and that is the caller's to end.

A connection is known by the names of its classes, so that none of these libraries is needed, or imported, for it. What
fails there fails the caller's transaction, as any statement does: there is no savepoint in between, for whoever then
commits all the same is to have nothing committed rather than their own half.
"""

from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import psycopg
from psycopg import AsyncCursor, Cursor
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from horsies.db.adapt import RawJson
from horsies.db.connect import Database
from horsies.db.failures import is_retryable, sqlstate
from horsies.db.operations import Call, CallFailedError, CallRefusedError, Rows
from horsies.masking import mask_secrets

_A_TRANSACTION = "connection= has no open transaction, so the task would not be part of one: begin it first"
_A_POSTGRES = "connection= leads to a database that is not PostgreSQL"
_ACCEPTED = "an open connection of psycopg, asyncpg, SQLAlchemy (or a session) or Django"
_NOT_THERE = ("3F000", "42883")  # no such schema, no such function


def ask[R](database: Database, call: Call[R]) -> R:
    """Make a call, and its hint, over the call's own connection, blocking.

    Raises:
        CallRefusedError: the connection will not do; nothing was sent over it.
        CallFailedError: the caller's transaction has failed, or is lost.
    """
    way = _way(call.connection, _BLOCKING, _AWAITED, "is to be awaited: use the _async form")
    with _failures():
        return call.decode(way(call.connection, database, _joined(call)))


async def ask_async[R](database: Database, call: Call[R]) -> R:
    """The same, awaited."""
    way = _way(call.connection, _AWAITED, _BLOCKING, "would block the event loop: use the form without _async")
    with _failures():
        return call.decode(await way(call.connection, database, _joined(call)))


def _way[W](connection: object, ways: Mapping[str, W], others: Mapping[str, object], what_of_others: str) -> W:
    names = [f"{each.__module__}.{each.__qualname__}" for each in type(connection).__mro__]
    if way := next((ways[name] for name in names if name in ways), None):
        return way
    takes = what_of_others if not others.keys().isdisjoint(names) else f"will not do: give {_ACCEPTED}"
    msg = f"connection= is of the type {names[0]}, which {takes}"
    raise CallRefusedError(msg, retryable=False)


def _joined[R](call: Call[R]) -> Call[R]:
    """A call and its hint, which has no parameters here, as one statement of values that every driver knows.

    A user's driver may have been taught to make JSON of what it is given, so JSON goes as text.
    """
    sql = call.sql if call.hint is None else f"{call.sql}, {call.hint.sql.partition(' ')[2]}"
    plain = (str(each, "utf-8") if isinstance(each, RawJson) else each for each in call.params)
    return replace(call, sql=sql.replace("::json", "::text::json"), params=tuple(plain))


def _by_psycopg(connection: psycopg.Connection[Any], database: Database, call: Call[Any]) -> Rows:
    _need(_is_open(connection), _A_TRANSACTION)
    with Cursor(connection, row_factory=tuple_row) as cursor:
        return cursor.execute(database.statement(call), call.params).fetchall()


async def _by_async_psycopg(connection: psycopg.AsyncConnection[Any], database: Database, call: Call[Any]) -> Rows:
    _need(_is_open(connection), _A_TRANSACTION)
    async with AsyncCursor(connection, row_factory=tuple_row) as cursor:
        return await (await cursor.execute(database.statement(call), call.params)).fetchall()


def _is_open(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> bool:
    """Whether a statement is part of a transaction, which it begins unless the connection is in autocommit."""
    return not (connection.autocommit and connection.info.transaction_status == TransactionStatus.IDLE)


async def _by_asyncpg(connection: Any, database: Database, call: Call[Any]) -> Rows:
    _need(connection.is_closed() or connection.is_in_transaction(), _A_TRANSACTION)
    return await connection.fetch(database.numbered(call).decode(), *call.params)


def _by_sqlalchemy(connection: Any, database: Database, call: Call[Any]) -> Rows:
    if callable(connection.connection):  # of a session
        connection = connection.connection()
    _need(connection.dialect.name == "postgresql", _A_POSTGRES)
    _need(not connection.connection.dbapi_connection.autocommit, _A_TRANSACTION)
    sql_of = database.numbered if connection.dialect.paramstyle == "numeric_dollar" else database.statement
    return connection.exec_driver_sql(sql_of(call).decode(), call.params).fetchall()


async def _by_async_sqlalchemy(connection: Any, database: Database, call: Call[Any]) -> Rows:
    return await connection.run_sync(_by_sqlalchemy, database, call)


def _by_django(connection: Any, database: Database, call: Call[Any]) -> Rows:
    _need(connection.vendor == "postgresql", _A_POSTGRES)
    _need(not connection.get_autocommit(), _A_TRANSACTION)
    with connection.cursor() as cursor:
        cursor.execute(database.statement(call).decode(), call.params)
        return cursor.fetchall()


_BLOCKING: dict[str, Callable[[Any, Database, Call[Any]], Rows]] = {
    "psycopg.Connection": _by_psycopg,
    "sqlalchemy.engine.base.Connection": _by_sqlalchemy,
    "sqlalchemy.orm.session.Session": _by_sqlalchemy,
    "sqlalchemy.orm.scoping.scoped_session": _by_sqlalchemy,
    "django.utils.connection.ConnectionProxy": _by_django,
    "django.db.backends.base.base.BaseDatabaseWrapper": _by_django,
}
_AWAITED: dict[str, Callable[[Any, Database, Call[Any]], Awaitable[Rows]]] = {
    "psycopg.AsyncConnection": _by_async_psycopg,
    "asyncpg.connection.Connection": _by_asyncpg,
    "asyncpg.pool.PoolConnectionProxy": _by_asyncpg,
    "sqlalchemy.ext.asyncio.engine.AsyncConnection": _by_async_sqlalchemy,
    "sqlalchemy.ext.asyncio.session.AsyncSession": _by_async_sqlalchemy,
}


def _need(is_there: bool, what: str) -> None:  # noqa: FBT001 - an answer
    if not is_there:
        raise CallRefusedError(what, retryable=False)


@contextmanager
def _failures() -> Generator[None]:
    """Make what operations see of whatever the caller's library raises, which may have wrapped the driver's error."""
    try:
        yield
    except CallFailedError:
        raise
    except Exception as error:  # not even their names are known here
        while isinstance(cause := getattr(error, "orig", None) or error.__cause__, Exception):
            error = cause
        # Not the lines below the first one, nor the wrapper's own message: they hold the row, or the parameters.
        primary = error.diag.message_primary if isinstance(error, psycopg.Error) else None
        hint = "; connection= does not lead to the database of the app" if sqlstate(error) in _NOT_THERE else ""
        text = mask_secrets(f"{type(error).__name__}: {primary or str(error).partition('\n')[0]}{hint}")
        raise CallFailedError(text, retryable=is_retryable(error)) from error
