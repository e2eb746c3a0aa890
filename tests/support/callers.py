"""Programs with their own database connection, one for each supported library."""

from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from functools import partial
from typing import Any

import asyncpg
import django
import django.conf
import psycopg
from django.db import connection as django_connection
from django.db import connections, transaction
from django.db.backends.postgresql.base import DatabaseWrapper
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import Connection, create_engine
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, create_async_engine
from sqlalchemy.orm import Session as OrmSession
from sqlalchemy.orm import scoped_session, sessionmaker

from tests.producer.shop import Do

type ConnectionAdapter = Callable[[str], AbstractContextManager[Any]]
type AsyncConnectionAdapter = Callable[[str], AbstractAsyncContextManager[Any]]


OLDEST_FOR_DJANGO = 150000
"""The oldest version of PostgreSQL that this Django works with."""


class UndoneError(Exception):
    """Raised by a program within its transaction to roll it back."""


@contextmanager
def by_psycopg(url: str) -> Generator[psycopg.Connection]:
    with psycopg.connect(url) as connection:  # commits at the end
        yield connection


@contextmanager
def by_psycopg_block(url: str) -> Generator[psycopg.Connection[Any]]:
    """Yield a psycopg connection in autocommit mode, with the program's own row and cursor factories."""
    options: dict[str, Any] = {"row_factory": psycopg.rows.dict_row, "cursor_factory": psycopg.RawCursor}
    with psycopg.connect(url, autocommit=True, **options) as connection, connection.transaction():
        yield connection


@contextmanager
def by_sqlalchemy(url: str) -> Generator[Connection]:
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url))
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


@contextmanager
def by_session(url: str) -> Generator[OrmSession]:
    with by_sqlalchemy(url) as connection, OrmSession(connection) as session, session.begin():
        yield session


@contextmanager
def by_scoped_session(url: str) -> Generator[scoped_session[OrmSession]]:
    with by_sqlalchemy(url) as connection:
        scoped = scoped_session(sessionmaker(connection))
        try:
            yield scoped
            scoped.commit()
        finally:
            scoped.remove()


@contextmanager
def by_django(url: str) -> Generator[Any]:
    with django_database(url), transaction.atomic():
        yield django_connection


@contextmanager
def by_django_wrapper(url: str) -> Generator[Any]:
    with django_database(url), transaction.atomic():
        yield connections["default"]


@contextmanager
def django_database(url: str) -> Generator[None]:
    """Let Django use a database as its default database."""
    if not django.conf.settings.configured:
        default = {"ENGINE": "django.db.backends.postgresql", "NAME": "of each test"}
        django.conf.settings.configure(DATABASES={"default": default})
        django.setup()
    parts = conninfo_to_dict(url)
    place = {"NAME": parts["dbname"], "USER": parts["user"], "PASSWORD": parts["password"]}
    place |= {"HOST": parts["host"], "PORT": parts["port"]}
    connections["default"] = DatabaseWrapper({**connections.settings["default"], **place}, "default")
    try:
        yield
    finally:
        connections["default"].close()


@asynccontextmanager
async def by_async_psycopg(url: str) -> AsyncGenerator[psycopg.AsyncConnection]:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        yield connection


@asynccontextmanager
async def by_asyncpg(url: str) -> AsyncGenerator[asyncpg.Connection]:
    """Yield an asyncpg connection with a JSON codec, as many programs configure it."""
    connection = await asyncpg.connect(url)
    try:
        await connection.set_type_codec("json", encoder=repr, decoder=repr, schema="pg_catalog")
        async with connection.transaction():
            yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def by_asyncpg_pool(url: str) -> AsyncGenerator[Any]:
    async with asyncpg.create_pool(url, min_size=1) as pool, pool.acquire() as connection, connection.transaction():
        yield connection


@asynccontextmanager
async def by_async_sqlalchemy(url: str, driver: str = "asyncpg") -> AsyncGenerator[AsyncConnection]:
    connect = asyncpg.connect if driver == "asyncpg" else psycopg.AsyncConnection.connect
    engine = create_async_engine(f"postgresql+{driver}://", async_creator=lambda: connect(url))
    try:
        async with engine.begin() as connection:
            yield connection
    finally:
        await engine.dispose()


@asynccontextmanager
async def by_async_session(url: str) -> AsyncGenerator[AsyncSession]:
    async with by_async_sqlalchemy(url) as connection, AsyncSession(connection) as session, session.begin():
        yield session


BLOCKING: dict[str, ConnectionAdapter] = {
    "psycopg": by_psycopg,
    "psycopg block": by_psycopg_block,
    "SQLAlchemy": by_sqlalchemy,
    "SQLAlchemy session": by_session,
    "SQLAlchemy scoped session": by_scoped_session,
    "Django": by_django,
    "Django wrapper": by_django_wrapper,
}
AWAITED: dict[str, AsyncConnectionAdapter] = {
    "async psycopg": by_async_psycopg,
    "asyncpg": by_asyncpg,
    "asyncpg pool": by_asyncpg_pool,
    "async SQLAlchemy, asyncpg": by_async_sqlalchemy,
    "async SQLAlchemy, psycopg": partial(by_async_sqlalchemy, driver="psycopg_async"),
    "async SQLAlchemy session": by_async_session,
}


class Caller:
    """A program that works in a transaction; ``do`` is its style, blocking or asynchronous."""

    def __init__(self, name: str, url: str) -> None:
        self.name = name
        self._url = url
        self.do = Do("sync" if name in BLOCKING else "async")

    @contextmanager
    def transaction(self) -> Generator[Any]:
        """Run a transaction that is committed at the end. `UndoneError` rolls it back and is suppressed."""
        if self.name in BLOCKING:
            with suppress(UndoneError), BLOCKING[self.name](self._url) as connection:
                yield connection
            return
        manager = AWAITED[self.name](self._url)
        connection = self.do.run(manager.__aenter__())
        with suppress(UndoneError):
            try:
                yield connection
            except BaseException as error:
                if not self.do.run(manager.__aexit__(type(error), error, error.__traceback__)):
                    raise
            else:
                self.do.run(manager.__aexit__(None, None, None))
