"""The description of a database, from which all connections of a process are opened."""

import math
import threading
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakSet

import psycopg
from psycopg import BaseConnection, Connection, IsolationLevel

from horsies.config.postgres import PostgresConfig
from horsies.db import migrate, rights
from horsies.db.adapt import ADAPT_CONTEXT
from horsies.db.bounded import STATEMENT_LIMIT_S, AsyncBoundedConnection, BoundedConnection, statement_limit
from horsies.db.errors import call_failed
from horsies.db.failed_notices import FailedNotices
from horsies.db.inherited import close_in_children
from horsies.db.operations import Call, CallFailedError, nothing
from horsies.db.queries import identity as identity_queries
from horsies.db.queries.identity import DatabaseIdentity, DatabasePlace
from horsies.db.sqlfiles import admin, bind, numbered
from horsies.embedded.server import EmbeddedError
from horsies.errors import HorsiesError
from horsies.events import event

if TYPE_CHECKING:
    from collections.abc import Callable

MIGRATION_LIMIT_S = 3600.0
"""The longest time for one statement of a migration that a worker or ``horsies db migrate`` makes, in seconds."""

_SET_UP_LIMIT_S = 9.0


def _needs_iso_times(connection: BaseConnection[Any]) -> bool:
    """Whether the server sends times in a style that psycopg cannot read: ``alter database … set datestyle``."""
    return not (connection.pgconn.parameter_status(b"DateStyle") or b"ISO").startswith(b"ISO")


class Database:
    """A database with the schema of the queue, and how to connect to it. Creating the object opens nothing.

    The schema is created, migrated or checked once per process, before the first use (`prepare`).

    Attributes:
        use_check: what `check_use` calls; set by the testing kit, which refuses databases that do not belong to the
            test. It raises an exception to refuse one.
        config: the configuration.
        schema: the name of the schema.
        is_prepared: whether `prepare` has succeeded.
        own_identity: the latest result of `read_identity`.
        verified: driver connections of callers that lead to this database; written by `horsies.producer`.
        failed_notices: the log of failed notifications; written by `horsies.db.pipeline`.
    """

    use_check: "ClassVar[Callable[[Database], None] | None]" = None

    def __init__(self, config: PostgresConfig) -> None:
        self.config = config
        self.schema = config.schema_name
        self._lock = threading.Lock()
        self._url: str | None = None
        self.is_prepared = False
        self.own_identity: tuple[DatabasePlace, DatabaseIdentity] | None = None
        self.verified: WeakSet[object] = WeakSet()
        self.failed_notices = FailedNotices()

    def check_use(self) -> None:
        """Let the testing kit refuse this database. Producers call it before each use of the database or its URL."""
        if Database.use_check is not None:
            Database.use_check(self)

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

    def connect(
        self, *, to_listen: bool = False, limit_s: float = STATEMENT_LIMIT_S, within_s: float | None = None
    ) -> BoundedConnection:
        """Open a connection and set up its session, blocking.

        Args:
            to_listen: whether it will listen; then it uses ``session_database_url``, if that is configured.
            limit_s: the longest time for one statement, in seconds. No wait for the server is longer than that.
            within_s: the longest time for opening the connection, in seconds; None: the time-out of the URL, or 10 s.
        """
        connection = BoundedConnection.connect(self._url_for(to_listen=to_listen), **self._connect_kwargs(within_s))
        close_in_children(connection)
        try:
            connection.limit_s = min(limit_s, _SET_UP_LIMIT_S)  # a pooler may queue the first statement
            for statement, params in self._set_up(connection, limit_s, to_listen=to_listen):
                connection.execute(statement, params)
            connection.limit_s = limit_s
        except BaseException:
            connection.close()
            raise
        connection.isolation_level = IsolationLevel.READ_COMMITTED
        return connection

    async def connect_async(
        self, *, to_listen: bool = False, limit_s: float = STATEMENT_LIMIT_S, within_s: float | None = None
    ) -> AsyncBoundedConnection:
        """Open a connection on the running event loop; see `connect`."""
        url = self._url_for(to_listen=to_listen)
        connection = await AsyncBoundedConnection.connect(url, **self._connect_kwargs(within_s))
        close_in_children(connection)
        try:
            connection.limit_s = min(limit_s, _SET_UP_LIMIT_S)
            for statement, params in self._set_up(connection, limit_s, to_listen=to_listen):
                await connection.execute(statement, params)
            connection.limit_s = limit_s
        except BaseException:
            await connection.close()
            raise
        await connection.set_isolation_level(IsolationLevel.READ_COMMITTED)
        return connection

    def _connect_kwargs(self, within_s: float | None) -> dict[str, Any]:
        kwargs = self.connect_kwargs()
        if within_s is not None:
            kwargs["connect_timeout"] = max(1, min(math.ceil(within_s), kwargs.get("connect_timeout", math.inf)))
        return kwargs

    def _set_up(
        self, connection: BoundedConnection | AsyncBoundedConnection, limit_s: float, *, to_listen: bool
    ) -> list[tuple[bytes, tuple[object, ...] | None]]:
        """Return the statements that set up a new session; see ``session_settings.sql``.

        PgBouncer in transaction mode shares sessions between clients. There, `transaction_settings` are made in each
        transaction, and only the style of times is set here, which PgBouncer remembers for each client.
        """
        if not self.shares_sessions or (to_listen and self.config.session_database_url is not None):
            return [(admin("session_settings").encode(), (False, _milliseconds(limit_s)))]
        return [(admin("iso_times").encode(), None)] if _needs_iso_times(connection) else []

    @property
    def shares_sessions(self) -> bool:
        """Whether a pooler gives a session to another client after each transaction."""
        return self.config.pgbouncer_transaction_mode

    def transaction_settings(self, connection: BaseConnection[Any]) -> Call[None]:
        """Return the call that makes the settings of a session for one transaction only."""
        return Call(admin("session_settings"), (True, _milliseconds(statement_limit(connection))), nothing)

    def _url_for(self, *, to_listen: bool) -> str:
        return (self.config.resolve_session_url() if to_listen else None) or self.url

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

    def prepare(self, limit_s: float = STATEMENT_LIMIT_S, kind: rights.Kind | None = None) -> None:
        """Create or migrate the schema if ``auto_migrate`` is set; otherwise check its version.

        Args:
            limit_s: the longest time for one statement, in seconds. Another migration is waited for 10 seconds only.
            kind: the purpose of the role of the connections, whose rights are checked; None: no rights are checked.

        Raises:
            CallFailedError: no URL, no connection, missing rights, a newer schema, or a schema that is not up to date.
        """
        if self.is_prepared:
            return
        try:
            with self.connect(limit_s=limit_s) as connection:
                self._prepare(connection, kind)
        except (psycopg.Error, *migrate.MIGRATION_ERRORS, rights.RightsError, HorsiesError, EmbeddedError) as error:
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

    def _prepare(self, connection: Connection[tuple[Any, ...]], kind: rights.Kind | None) -> None:
        """Prepare the schema, and check the rights for a kind.

        A role without any rights may not even read the version of the schema; then the check says what it lacks.
        """
        may_create = self.config.auto_migrate
        try:
            self._prepare_schema(connection)
        except psycopg.errors.InsufficientPrivilege:
            if kind is not None:
                rights.check_rights(connection, self.schema, kind, may_create=may_create)
            raise
        if kind is not None:
            rights.check_rights(connection, self.schema, kind, may_create=may_create)

    def _prepare_schema(self, connection: Connection[tuple[Any, ...]]) -> None:
        if self.config.auto_migrate:
            migrate.migrate(connection, self.schema)
            return
        found = migrate.status(connection, self.schema)
        migrate.check_usable(found, self.schema)
        if not found.is_current:
            msg = f"the schema {self.schema!r} of this database is {found.describe()}"
            raise CallFailedError(msg, retryable=False)


def _milliseconds(seconds: float) -> str:
    return str(round(seconds * 1000))
