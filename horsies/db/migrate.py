"""Creating and migrating the schema: numbered migrations for tables; functions are recreated after every change."""

from dataclasses import dataclass
from enum import Enum, auto

import psycopg

from horsies.config.postgres import DEFAULT_SCHEMA
from horsies.db import rights, sqlfiles
from horsies.db.functions import MARK, ForeignObjectsError, replace_functions, restrict_functions
from horsies.db.queries import rights as rights_queries
from horsies.db.sqlfiles import admin, bind
from horsies.errors import ConfigurationError, ErrorCode
from horsies.rendering import printable
from horsies.version import __version__

_PARTITION_DAYS = 14
_MAX_LOCK_WAIT_S = 10
_LISTED = 5
_ENCODINGS_OF_ANY_TEXT = ("UTF8", "SQL_ASCII", None)  # None: a pooler does not report it


class SchemaTooNewError(Exception):
    """A newer release of horsies has created or migrated the schema."""


class NotTheOwnerError(Exception):
    """The schema has to be migrated by the owner of its tables, and the role of the connection is another one."""


MIGRATION_ERRORS = (SchemaTooNewError, NotTheOwnerError, ForeignObjectsError)
"""Refusals of `migrate` and `status`, besides errors of the database."""


class FirstInstallation(Enum):
    """Where a first migration may create the tables."""

    OWN_SCHEMA = auto()
    """In a schema without tables, which is created if it is missing."""

    EXISTING_SCHEMA = auto()
    """In a schema that may contain tables of other programs, too."""


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
    with rights.fixed_path(connection):
        current, functions_hash, library = _read_version(connection, schema) or (0, "", "0")
    has_functions = functions_hash == sqlfiles.functions_hash(schema) or _release(library) > _release(__version__)
    return SchemaStatus(
        current=current,
        latest=max(sqlfiles.migrations()),
        pending=tuple(number for number in sqlfiles.migrations() if number > current),
        functions_current=has_functions,
    )


def _read_version(connection: psycopg.Connection, schema: str) -> tuple[int, str, str] | None:
    """Read the version from the table, or by a function if the role may not read tables. None: there is no schema."""
    has_table, may_read = connection.execute(bind(admin("find_version"), schema)).fetchone() or (False, False)
    if not has_table:
        return None
    if may_read:
        return connection.execute(bind(admin("read_version"), schema)).fetchone()
    call = rights_queries.installed_version()
    return call.decode(connection.execute(bind(call.sql, schema), call.params).fetchall())


def _check_encoding(connection: psycopg.Connection) -> None:
    encoding = connection.info.parameter_status("server_encoding")
    if encoding not in _ENCODINGS_OF_ANY_TEXT:
        message = f"the database {connection.info.dbname!r} has the encoding {encoding}, which lacks most letters"
        help_text = "make one with the encoding UTF8: create database … template template0 encoding 'UTF8'"
        raise ConfigurationError(ErrorCode.BROKER_INIT_FAILED, message, help_text=help_text)


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def may_migrate(connection: psycopg.Connection, schema: str) -> bool:
    """Whether the role of the connection is the owner of the tables, or can act as the owner; True without tables."""
    with rights.fixed_path(connection):
        found = connection.execute(bind(admin("find_owner"), schema)).fetchone()
    return found is None or bool(found[2])


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


def migrate(
    connection: psycopg.Connection, schema: str, where: FirstInstallation = FirstInstallation.OWN_SCHEMA
) -> list[str]:
    """Bring the schema up to date, in one transaction and under an advisory lock.

    Functions are replaced, and rights that `horsies.db.rights` has recorded are granted again.

    Args:
        connection: in autocommit mode. For a first migration, its role needs the right to create in the database, or in
            an existing schema. Later it must be the owner of the tables, or be able to act as the owner.
        schema: the name of the schema.
        where: whether a first migration may use a schema with tables of other programs.

    Returns:
        The applied parts, in order: ``["0001", "functions"]``; empty if the schema was up to date.

    Raises:
        SchemaTooNewError: the schema belongs to a newer release.
        NotTheOwnerError: the role cannot act as the owner of the tables.
        ForeignObjectsError: the schema contains objects of others that are in the way.
        psycopg.errors.LockNotAvailable: another session has held the lock for 10 seconds; the message says which.
    """
    found = status(connection, schema)
    check_not_newer(found, schema)
    if found.is_current:
        return []
    with rights.fixed_path(connection):
        _take_lock(connection)
        found = status(connection, schema)
        check_not_newer(found, schema)
        if found.is_current:  # another process has migrated it meanwhile
            return []
        _check_home(connection, schema, where) if found.current == 0 else _become_owner(connection, schema)
        applied = [_apply(connection, number, schema) for number in found.pending]
        replace_functions(connection, schema)
        connection.execute(bind("select horsies.add_partitions(%s)", schema), (_PARTITION_DAYS,))
        rights.regrant(connection, schema)
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


def _check_home(connection: psycopg.Connection, schema: str, where: FirstInstallation) -> None:
    """Refuse to create tables beside those of other programs, unless the caller allows it."""
    foreign = [name for (name,) in connection.execute(admin("foreign_tables").encode(), (schema,)).fetchall()]
    if foreign and where is FirstInstallation.OWN_SCHEMA:
        shown = ", ".join(foreign[:_LISTED]) + (", …" if len(foreign) > _LISTED else "")
        msg = (
            f"the schema {schema!r} contains tables that horsies has not created: {shown}; use a separate schema, "
            "PostgresConfig(schema=…), or create the tables beside them: horsies db migrate --into-existing"
        )
        raise ForeignObjectsError(msg)


def _become_owner(connection: psycopg.Connection, schema: str) -> None:
    """Continue the transaction as the owner of the tables, so that the owner also owns what the migration creates."""
    found = connection.execute(bind(admin("find_owner"), schema)).fetchone()
    if found is None or found[1]:
        return
    owner, _, may_act_as_owner = found
    if not may_act_as_owner:
        msg = (
            f"the schema {schema!r} is not up to date, and only the owner of its tables can migrate it: "
            f"run `horsies db migrate` as the role {owner!r}"
        )
        raise NotTheOwnerError(msg)
    adopted = {"mark": MARK, "names": list(sqlfiles.functions())}
    for (statement,) in connection.execute(bind(admin("adopt"), schema), adopted).fetchall():
        connection.execute(statement.encode())
    connection.execute(admin("set_role").encode(), (owner,))


def _version_literals(schema: str) -> str:
    return f"{max(sqlfiles.migrations())}, '{sqlfiles.functions_hash(schema)}', '{__version__}'"


def plain_sql(schema: str) -> str:
    """Return the whole schema as one script, to be reviewed or applied by hand."""
    parts = [
        "begin;",
        admin("create_schema"),
        "set local check_function_bodies = off;",
        f"{admin('fix_path').rstrip()};",
        *sqlfiles.migrations().values(),
        *sqlfiles.functions().values(),
        restrict_functions(DEFAULT_SCHEMA),
        f"select horsies.add_partitions({_PARTITION_DAYS});",
        admin("record_version").replace("%s, %s, %s", _version_literals(schema)),
        ";",
        "commit;",
    ]
    return bind("\n".join(part.rstrip() for part in parts), schema).decode() + "\n"
