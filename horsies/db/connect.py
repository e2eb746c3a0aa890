"""Connections: one description of the database, from which every connection of a process is made."""

import threading
from typing import Any
from weakref import WeakSet

import psycopg
from psycopg import AsyncConnection, BaseConnection, Connection

from horsies.config.postgres import PostgresConfig
from horsies.db import migrate
from horsies.db.adapt import ADAPT_CONTEXT
from horsies.db.errors import call_failed
from horsies.db.operations import Call, CallFailedError
from horsies.db.queries import identity as identity_queries
from horsies.db.queries.identity import DatabaseIdentity, DatabasePlace
from horsies.db.sqlfiles import admin, bind, numbered
from horsies.embedded.server import EmbeddedError
from horsies.errors import HorsiesError
from horsies.events import event


def _needs_iso_times(connection: BaseConnection[Any]) -> bool:
    """Whether times come in a style that psycopg does not read, as after ``alter database … set datestyle``."""
    return not (connection.pgconn.parameter_status(b"DateStyle") or b"ISO").startswith(b"ISO")


class Database:
    """Where the queue lives, and how to reach it.

    The schema is created, migrated or checked once a process, before the first use (`prepare`).
    """

    def __init__(self, config: PostgresConfig) -> None:
        """Describe; nothing is opened."""
        self.config = config
        self.schema = config.schema_name
        self._lock = threading.Lock()
        self._url: str | None = None
        self.is_prepared = False
        self.own_identity: tuple[DatabasePlace, DatabaseIdentity] | None = None
        """What `read_identity` found the last time."""
        self.verified: WeakSet[object] = WeakSet()
        """Connections of callers, each of the driver itself, that were found to lead to this database."""

    @property
    def url(self) -> str:
        """The libpq URL. The first look may start the embedded server."""
        if self._url is None:
            with self._lock:
                self._url = self._url or self.config.resolve_url()
        return self._url

    def connect_kwargs(self) -> dict[str, Any]:
        """Keywords for psycopg: autocommit, keepalives; what is worth preparing goes through `horsies.db.pipeline`."""
        return {
            "autocommit": True,
            "prepare_threshold": None,
            "context": ADAPT_CONTEXT,
            **self.config.connect_kwargs(),
        }

    def connect(self, *, to_listen: bool = False) -> Connection[tuple[Any, ...]]:
        """Open a connection, blocking; one to listen on goes around a PgBouncer, if there is a way."""
        connection = psycopg.connect(self._url_for(to_listen=to_listen), **self.connect_kwargs())
        if _needs_iso_times(connection):
            connection.execute(admin("iso_times").encode())
        return connection

    async def connect_async(self, *, to_listen: bool = False) -> AsyncConnection[tuple[Any, ...]]:
        """The same on the running loop."""
        connection = await AsyncConnection.connect(self._url_for(to_listen=to_listen), **self.connect_kwargs())
        if _needs_iso_times(connection):
            await connection.execute(admin("iso_times").encode())
        return connection

    def _url_for(self, *, to_listen: bool) -> str:
        return (self.config.resolve_session_url() if to_listen else None) or self.url

    @property
    def limit_statements(self) -> bytes | None:
        """What a producer's new connection executes first; nothing where the session is not its own."""
        return None if self.config.pgbouncer_transaction_mode else admin("limit_statements").encode()

    @property
    def can_listen(self) -> bool:
        """Whether notices can be had: not through a PgBouncer in transaction mode without a way around it."""
        return not self.config.pgbouncer_transaction_mode or self.config.session_database_url is not None

    def statement(self, call: Call[Any]) -> bytes:
        """The SQL of a call, with the schema's name in it; logged if the configuration says ``echo``."""
        return self._shown(bind(call.sql, self.schema))

    def numbered(self, call: Call[Any]) -> bytes:
        """The same with its parameters as libpq has them, ``$1`` and so on."""
        return self._shown(numbered(call.sql, self.schema))

    def _shown(self, sql: bytes) -> bytes:
        if self.config.echo:
            event("sql", statement=sql.decode())
        return sql

    def ask[R](self, connection: Connection[tuple[Any, ...]], call: Call[R]) -> R:
        """Make one call on a connection, blocking; raises what psycopg raises."""
        return call.decode(connection.execute(self.statement(call), call.params).fetchall())

    def prepare(self) -> None:
        """Create or migrate the schema (``auto_migrate``), or check that it is the one this library knows.

        Raises:
            CallFailedError: no URL, no connection, no rights, a newer schema, or a missing one that may not be made.
        """
        if self.is_prepared:
            return
        try:
            with self.connect() as connection:
                self._prepare(connection)
        except (psycopg.Error, migrate.SchemaTooNewError, HorsiesError, EmbeddedError) as error:
            raise call_failed(error) from error
        self.is_prepared = True

    def read_identity(self) -> tuple[DatabasePlace, DatabaseIdentity]:
        """Ask the app's database for its identity over a new connection, blocking.

        Raises:
            CallFailedError: it does not answer.
        """
        try:
            with self.connect() as connection:
                place = self.ask(connection, identity_queries.find_identity())
                self.own_identity = place, self.ask(connection, identity_queries.database_identity())
        except psycopg.Error as error:
            raise call_failed(error) from error
        return self.own_identity

    def _prepare(self, connection: Connection[tuple[Any, ...]]) -> None:
        if self.config.auto_migrate:
            migrate.migrate(connection, self.schema)
            return
        found = migrate.status(connection, self.schema)
        migrate.check_not_newer(found, self.schema)
        if not found.is_current:
            msg = f"the schema {self.schema!r} of this database is {found.describe()}"
            raise CallFailedError(msg, retryable=False)
