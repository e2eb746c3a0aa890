"""Calls that identify the database of a connection."""

from dataclasses import dataclass

from horsies.db.operations import Call, Rows
from horsies.db.sqlfiles import admin

_IDENTITY = "select identity::text, database_oid::text, system_identifier::text from horsies.database_identity()"


@dataclass(frozen=True, slots=True)
class DatabasePlace:
    """The database of a connection, for messages.

    Attributes:
        has_schema: whether the schema exists, with the functions of this release.
        database: the name of the database.
        host: the address of the server as it sees itself; None: the connection uses a Unix socket.
        port: the port of the server, which is also part of the names of its sockets.
        sockets: the folders of the server's sockets; None: the user may not read that setting.
    """

    has_schema: bool
    database: str
    host: str | None
    port: str | None
    sockets: str | None

    def describe(self) -> str:
        """Name the database, with text from the server escaped."""
        if self.host is not None:
            where = f"at {f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"
        elif self.sockets is None:
            where = f"over a Unix socket, port {self.port}"
        else:
            where = f"over the Unix socket in {_shown_folders(self.sockets)}, port {self.port}"
        return f"the database {self.database!r} {where}"


@dataclass(frozen=True, slots=True)
class DatabaseIdentity:
    """A row of `horsies.database_identity`."""

    identity: str
    database_oid: str
    system_identifier: str | None

    def matches(self, other: "DatabaseIdentity") -> bool:
        """Whether both identify the same schema in the same database; an unreadable system identifier matches any."""
        systems = {self.system_identifier, other.system_identifier} - {None}
        return (self.identity, self.database_oid) == (other.identity, other.database_oid) and len(systems) <= 1

    def describe(self) -> str:
        """Describe the properties that distinguish this database from its copies."""
        return f"oid {self.database_oid}, system identifier {self.system_identifier or 'not readable'}"


def find_identity() -> Call[DatabasePlace]:
    """Return the database of a connection, and whether `database_identity` can be called there."""
    return Call(admin("find_identity"), (), _place)


def database_identity() -> Call[DatabaseIdentity]:
    """Return the identity of the schema and its database."""
    return Call(_IDENTITY, (), lambda rows: DatabaseIdentity(*map(_text, rows[0])))  # type: ignore[arg-type] # not null


def _place(rows: Rows) -> DatabasePlace:
    has_schema, database, host, port, sockets = rows[0]
    return DatabasePlace(bool(has_schema), _text(database) or "", _text(host), _text(port), _text(sockets))


def _shown_folders(setting: str) -> str:
    """The value of ``unix_socket_directories`` for a message: one folder without the quotes of the setting."""
    is_quoted = len(setting) > 1 and setting[0] == setting[-1] == '"' and setting.count('"') % 2 == 0
    return repr(setting[1:-1].replace('""', '"') if is_quoted and '", "' not in setting else setting)


def _text(value: object) -> str | None:
    """Decode text, which psycopg returns as bytes if the connection has no known encoding."""
    return str(value, "utf-8", "replace") if isinstance(value, bytes) else None if value is None else str(value)
