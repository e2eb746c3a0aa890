"""Creating and migrating the schema: numbered migrations for tables; functions are recreated after every change."""

from dataclasses import dataclass

import psycopg

from horsies.db import sqlfiles
from horsies.db.sqlfiles import admin, bind
from horsies.errors import ConfigurationError, ErrorCode
from horsies.rendering import printable
from horsies.version import __version__

_PARTITION_DAYS = 14
_MAX_LOCK_WAIT_S = 10
_ENCODINGS_OF_ANY_TEXT = ("UTF8", "SQL_ASCII", None)  # None: a pooler does not report it


class SchemaTooNewError(Exception):
    """A newer release of horsies has created or migrated the schema."""


@dataclass(frozen=True, slots=True)
class SchemaStatus:
    """The version of a schema.

    Attributes:
        current: the number of the last applied migration; 0: there is no schema.
        latest: the number of the last migration that this release knows.
        pending: the migrations that have to be applied.
        functions_current: whether the server functions are those of this release, or of a newer one.
    """

    current: int
    latest: int
    pending: tuple[int, ...]
    functions_current: bool

    @property
    def is_current(self) -> bool:
        """Whether nothing has to be migrated, and no newer release has migrated the schema."""
        return self.current == self.latest and self.functions_current

    def describe(self) -> str:
        """Describe the version in words, with the command to run."""
        if self.current == 0:
            return "not there yet; `horsies db migrate` creates it"
        if self.is_current:
            return f"version {self.current}, up to date"
        if self.current > self.latest:
            return f"version {self.current}, made by a newer horsies; this one knows {self.latest}"
        if not self.pending:
            return f"version {self.current} with other server functions; `horsies db migrate` renews them"
        return f"version {self.current} of {self.latest}; `horsies db migrate` brings it up to date"


def status(connection: psycopg.Connection, schema: str) -> SchemaStatus:
    """Read the version of the schema; changes nothing.

    Raises:
        ConfigurationError: HRS-211: the database has an encoding that cannot store every payload.
    """
    _check_encoding(connection)
    found = connection.execute(bind(admin("find_version"), schema)).fetchone()
    row = connection.execute(bind(admin("read_version"), schema)).fetchone() if found == (True,) else None
    current, functions_hash, library = row or (0, "", "0")
    has_functions = functions_hash == sqlfiles.functions_hash(schema) or _release(library) > _release(__version__)
    return SchemaStatus(
        current=current,
        latest=max(sqlfiles.migrations()),
        pending=tuple(number for number in sqlfiles.migrations() if number > current),
        functions_current=has_functions,
    )


def lacking_rights(connection: psycopg.Connection, schema: str) -> list[str]:
    """List the rights that a worker needs and the user of a connection lacks: ``["usage on schema jobs"]``."""
    return [right for (right,) in connection.execute(admin("lacking_rights").encode(), {"schema": schema})]


def _check_encoding(connection: psycopg.Connection) -> None:
    encoding = connection.info.parameter_status("server_encoding")
    if encoding not in _ENCODINGS_OF_ANY_TEXT:
        message = f"the database {connection.info.dbname!r} has the encoding {encoding}, which lacks most letters"
        help_text = "make one with the encoding UTF8: create database … template template0 encoding 'UTF8'"
        raise ConfigurationError(ErrorCode.BROKER_INIT_FAILED, message, help_text=help_text)


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def check_not_newer(found: SchemaStatus, schema: str) -> None:
    """Refuse a schema of a newer release.

    Raises:
        SchemaTooNewError: with both versions and the fix.
    """
    if found.current > found.latest:
        msg = (
            f"the schema {schema!r} of this database has version {found.current}, made by a newer horsies; "
            f"horsies {__version__} knows versions up to {found.latest}: upgrade horsies"
        )
        raise SchemaTooNewError(msg)


def migrate(connection: psycopg.Connection, schema: str) -> list[str]:
    """Bring the schema up to date, in one transaction and under an advisory lock.

    Args:
        connection: in autocommit mode. Its user needs the right to create in the database, or in an existing schema.
        schema: the name of the schema.

    Returns:
        The applied parts, in order: ``["0001", "functions"]``; empty if the schema was up to date.

    Raises:
        SchemaTooNewError: the schema belongs to a newer release.
        psycopg.errors.LockNotAvailable: another session has held the lock for 10 seconds; the message says which.
    """
    found = status(connection, schema)
    check_not_newer(found, schema)
    if found.is_current:
        return []
    with connection.transaction():
        _take_lock(connection)
        found = status(connection, schema)
        check_not_newer(found, schema)
        if found.is_current:  # another process has migrated it meanwhile
            return []
        applied = [_apply(connection, number, schema) for number in found.pending]
        _create_functions(connection, schema)
        version = (found.latest, sqlfiles.functions_hash(schema), __version__)
        connection.execute(bind(admin("record_version"), schema), version)
    return [*applied, "functions"]


def _take_lock(connection: psycopg.Connection) -> None:
    connection.execute(admin("limit_lock").encode(), (f"{_MAX_LOCK_WAIT_S}s",))
    try:
        with connection.transaction():  # a savepoint, so that the holder can be looked up after a failure
            connection.execute(admin("lock").encode())
    except psycopg.errors.LockNotAvailable as error:
        message = (
            f"another session has held the lock of migrations for {_MAX_LOCK_WAIT_S} s: {_lock_holder(connection)}"
        )
        raise psycopg.errors.LockNotAvailable(message) from error
    connection.execute(admin("limit_lock").encode(), ("0",))


def _lock_holder(connection: psycopg.Connection) -> str:
    holder = connection.execute(admin("lock_holder").encode()).fetchone()
    if holder is None:
        return "it has just released it"
    pid, program, user = (printable(str(value)) for value in holder)
    return (
        f"process {pid} ({program or 'without a name'}, user {user}); wait until its migration has ended, or end it: "
        f"select pg_terminate_backend({pid})"
    )


def _apply(connection: psycopg.Connection, number: int, schema: str) -> str:
    if number == 1 and connection.execute(admin("find_schema").encode(), (schema,)).fetchone() is None:
        connection.execute(bind(admin("create_schema"), schema))
    connection.execute(bind(sqlfiles.migrations()[number], schema))
    return f"{number:04}"


def _create_functions(connection: psycopg.Connection, schema: str) -> None:
    connection.execute(bind(admin("drop_functions"), schema))
    for sql in sqlfiles.functions().values():
        connection.execute(bind(sql, schema))
    connection.execute(bind("select horsies.add_partitions(%s)", schema), (_PARTITION_DAYS,))


def _version_literals(schema: str) -> str:
    return f"{max(sqlfiles.migrations())}, '{sqlfiles.functions_hash(schema)}', '{__version__}'"


def plain_sql(schema: str) -> str:
    """Return the whole schema as one script, to be reviewed or applied by hand."""
    parts = [
        "begin;",
        admin("create_schema"),
        "set local check_function_bodies = off;",
        *sqlfiles.migrations().values(),
        *sqlfiles.functions().values(),
        f"select horsies.add_partitions({_PARTITION_DAYS});",
        admin("record_version").replace("%s, %s, %s", _version_literals(schema)),
        ";",
        "commit;",
    ]
    return bind("\n".join(part.rstrip() for part in parts), schema).decode() + "\n"
