"""The description of a database, from which all connections of a process are opened."""

import threading
from typing import Any
from weakref import WeakSet

import psycopg
from psycopg import AsyncConnection, BaseConnection, Connection

from horsies.config.postgres import PostgresConfig
from horsies.db import migrate
from horsies.db.adapt import ADAPT_CONTEXT
from horsies.db.errors import call_failed
from horsies.db.failed_notices import FailedNotices
from horsies.db.operations import Call, CallFailedError
from horsies.db.queries import identity as identity_queries
from horsies.db.queries.identity import DatabaseIdentity, DatabasePlace
from horsies.db.sqlfiles import admin, bind, numbered
from horsies.embedded.server import EmbeddedError
from horsies.errors import HorsiesError
from horsies.events import event


def _needs_iso_times(connection: BaseConnection[Any]) -> bool:
    """Whether the server sends times in a style that psycopg cannot read: ``alter database … set datestyle``."""
    return not (connection.pgconn.parameter_status(b"DateStyle") or b"ISO").startswith(b"ISO")


class Database:
    """A database with the schema of the queue, and how to connect to it. Creating the object opens nothing.

    The schema is created, migrated or checked once per process, before the first use (`prepare`).

    Attributes:
        config: the configuration.
        schema: the name of the schema.
        is_prepared: whether `prepare` has succeeded.
        own_identity: the latest result of `read_identity`.
        verified: driver connections of callers that lead to this database; written by `horsies.producer`.
        failed_notices: the log of failed notifications; written by `horsies.db.pipeline`.
    """

    def __init__(self, config: PostgresConfig) -> None:
        self.config = config
        self.schema = config.schema_name
        self._lock = threading.Lock()
        self._url: str | None = None
        self.is_prepared = False
        self.own_identity: tuple[DatabasePlace, DatabaseIdentity] | None = None
        self.verified: WeakSet[object] = WeakSet()
        self.failed_notices = FailedNotices()

    @property
    def url(self) -> str:
        """The libpq URL. Reading it for the first time may start the embedded server."""
        if self._url is None:
            with self._lock:
                self._url = self._url or self.config.resolve_url()
        return self._url

    def connect_kwargs(self) -> dict[str, Any]:
        """Return keyword arguments for psycopg. Its own prepared statements are off: `horsies.db.pipeline` prepares."""
        return {
            "autocommit": True,
            "prepare_threshold": None,
            "context": ADAPT_CONTEXT,
            **self.config.connect_kwargs(),
        }

    def connect(self, *, to_listen: bool = False) -> Connection[tuple[Any, ...]]:
        """Open a connection, blocking.

        Args:
            to_listen: whether it will listen; then it uses ``session_database_url``, if that is configured.
        """
        connection = psycopg.connect(self._url_for(to_listen=to_listen), **self.connect_kwargs())
        if _needs_iso_times(connection):
            connection.execute(admin("iso_times").encode())
        return connection

    async def connect_async(self, *, to_listen: bool = False) -> AsyncConnection[tuple[Any, ...]]:
        """Open a connection on the running event loop; see `connect`."""
        connection = await AsyncConnection.connect(self._url_for(to_listen=to_listen), **self.connect_kwargs())
        if _needs_iso_times(connection):
            await connection.execute(admin("iso_times").encode())
        return connection

    def _url_for(self, *, to_listen: bool) -> str:
        return (self.config.resolve_session_url() if to_listen else None) or self.url

    @property
    def limit_statements(self) -> bytes | None:
        """The statements that a new connection of a producer executes first.

        None with PgBouncer in transaction mode, where sessions are shared with other clients.
        """
        return None if self.config.pgbouncer_transaction_mode else admin("limit_statements").encode()

    @property
    def can_listen(self) -> bool:
        """Whether notices can be received: PgBouncer in transaction mode needs ``session_database_url``."""
        return not self.config.pgbouncer_transaction_mode or self.config.session_database_url is not None

    def statement(self, call: Call[Any]) -> bytes:
        """Return the SQL of a call with the name of the schema; logs it if ``echo`` is set."""
        return self._shown(bind(call.sql, self.schema))

    def numbered(self, call: Call[Any]) -> bytes:
        """Return the SQL of a call with parameters in the notation of libpq: ``$1``, ``$2``, …; see `statement`."""
        return self._shown(numbered(call.sql, self.schema))

    def _shown(self, sql: bytes) -> bytes:
        if self.config.echo:
            event("sql", statement=sql.decode())
        return sql

    def ask[R](self, connection: Connection[tuple[Any, ...]], call: Call[R]) -> R:
        """Make one call on a connection, blocking.

        Raises:
            psycopg.Error: the call failed.
        """
        return call.decode(connection.execute(self.statement(call), call.params).fetchall())

    def prepare(self) -> None:
        """Create or migrate the schema if ``auto_migrate`` is set; otherwise check its version.

        Raises:
            CallFailedError: no URL, no connection, missing rights, a newer schema, or a schema that is not up to date.
        """
        if self.is_prepared:
            return
        try:
            with self.connect() as connection:
                self._prepare(connection)
        except (psycopg.Error, *migrate.MIGRATION_ERRORS, HorsiesError, EmbeddedError) as error:
            raise call_failed(error) from error
        self.is_prepared = True

    def read_identity(self) -> tuple[DatabasePlace, DatabaseIdentity]:
        """Read the identity of this database over a new connection, blocking.

        Raises:
            CallFailedError: the database does not answer.
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
        migrate.check_usable(found, self.schema)
        if not found.is_current:
            msg = f"the schema {self.schema!r} of this database is {found.describe()}"
            raise CallFailedError(msg, retryable=False)
