"""Creating and migrating the schema: numbered migrations for tables; functions and views are recreated after them."""

from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, StrEnum, auto

import psycopg
from psycopg import errors
from psycopg.sql import Identifier

from horsies.config.postgres import DEFAULT_SCHEMA
from horsies.db import rights, sqlfiles, views
from horsies.db.functions import MARK, ForeignObjectsError, replace_functions, restrict_functions
from horsies.db.queries import rights as rights_queries
from horsies.db.sqlfiles import admin, bind
from horsies.db.table_locks import LOCK_WAIT_S, TablesLockedError, retry_while_locked
from horsies.errors import ConfigurationError, ErrorCode
from horsies.rendering import printable
from horsies.version import __version__

PARTITION_DAYS = 14
"""For how many days ahead partitions of history are created."""

_MAX_LOCK_WAIT_S = 10
_NAMED_ELSEWHERE = (
    psycopg.OperationalError,  # includes locks, for which the migration is repeated
    errors.InsufficientPrivilege,
    errors.DependentObjectsStillExist,
    errors.FeatureNotSupported,
)
"""The errors of a migration that others describe, or that do not mean that the migration cannot be applied."""
_LISTED = 5
_ENCODINGS_OF_ANY_TEXT = ("UTF8", "SQL_ASCII", None)  # None: a pooler does not report it


class SchemaTooNewError(Exception):
    """A newer release of horsies has created or migrated the schema."""


class NotTheOwnerError(Exception):
    """The role of the connection may not create the schema, or is not the owner of its tables, who migrates it."""


class RepairNeededError(Exception):
    """The schema cannot be migrated before `horsies.db.repair` has repaired it."""


class MigrationFailedError(Exception):
    """The server has refused a statement of a migration, for example because a table was changed by hand."""


MIGRATION_ERRORS = (
    SchemaTooNewError,
    NotTheOwnerError,
    ForeignObjectsError,
    TablesLockedError,
    RepairNeededError,
    MigrationFailedError,
)
"""Refusals of `migrate` and `status`, besides errors of the database."""


class FirstInstallation(Enum):
    """Where a first migration may create the tables."""

    OWN_SCHEMA = auto()
    """In a schema without tables, which is created if it is missing."""

    EXISTING_SCHEMA = auto()
    """In a schema that may contain tables of other programs, too."""


class Condition(StrEnum):
    """How the version of a schema is recorded."""

    ABSENT = "absent"
    """There is no schema, or none with tables of horsies."""

    RECORDED = "recorded"
    """Its version is recorded in the table ``schema_version``."""

    ROW_MISSING = "row missing"
    """The table is empty, after TRUNCATE or in a dump without data. The version is known from the table's comment."""

    VERSION_UNKNOWN = "version unknown"
    """Neither the row nor the comment exists, as in a dump without data and without comments."""

    FUNCTIONS_OUTDATED = "functions outdated"
    """The schema was renamed, and its functions still contain the old name. So a role that may not read tables cannot
    read the version."""

    RENAMED = "renamed"
    """There is no such schema, but another one had this name when its functions were created."""


_REPAIR = "`horsies db repair MODULE:APP`"


@dataclass(frozen=True, slots=True)
class SchemaStatus:
    """The version of a schema.

    Attributes:
        current: the number of the last applied migration; 0: there is no schema.
        latest: the number of the last migration that this release knows.
        pending: the migrations that have to be applied.
        functions_current: whether the server functions are those of this release, or of a newer one.
        condition: how the version is recorded.
        renamed_to: the schemas that had its name before they were renamed; empty unless RENAMED.
    """

    current: int
    latest: int
    pending: tuple[int, ...]
    functions_current: bool
    condition: Condition
    renamed_to: tuple[str, ...] = ()

    @property
    def is_current(self) -> bool:
        """Whether nothing has to be migrated, and no newer release has migrated the schema."""
        return self.current == self.latest and self.functions_current

    def describe(self) -> str:
        """Describe the version in words, with the command to run."""
        match self.condition:
            case Condition.ABSENT:
                return "not there yet; `horsies db migrate` creates it"
            case Condition.RENAMED:
                names = " and ".join(map(repr, self.renamed_to))
                return (
                    f"not there: it was renamed to {names}; set PostgresConfig(schema={self.renamed_to[0]!r}) and run "
                    f"`horsies db migrate`, or give it its old name again with {_REPAIR}"
                )
            case Condition.VERSION_UNKNOWN:
                return f"there, but its version is not recorded; {_REPAIR} finds it by comparing the tables"
            case Condition.FUNCTIONS_OUTDATED:
                return "there, but renamed, and its functions contain the old name; `horsies db migrate` renews them"
            case Condition.RECORDED | Condition.ROW_MISSING:
                return self._describe_version()

    def _describe_version(self) -> str:
        if self.is_current:
            lost = f"; the row of `schema_version` is missing, and {_REPAIR} inserts it again"
            return f"version {self.current}, up to date{lost if self.condition is Condition.ROW_MISSING else ''}"
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
        condition, (current, functions_hash, library) = _read_version(connection, schema)
        renamed_to = _find_renamed(connection, schema) if condition is Condition.ABSENT else ()
    has_functions = functions_hash == sqlfiles.functions_hash(schema) or _release(library) > _release(__version__)
    return SchemaStatus(
        current=current,
        latest=max(sqlfiles.migrations()),
        pending=tuple(number for number in sqlfiles.migrations() if number > current),
        functions_current=has_functions,
        condition=Condition.RENAMED if renamed_to else condition,
        renamed_to=renamed_to,
    )


type _Version = tuple[int, str, str]
_NO_VERSION: _Version = (0, "", "0")


def _read_version(connection: psycopg.Connection, schema: str) -> tuple[Condition, _Version]:
    """Read the version from the table or its comment, or by a function if the role may not read tables."""
    has_table, may_read = connection.execute(bind(admin("find_version"), schema)).fetchone() or (False, False)
    if not has_table:
        return Condition.ABSENT, _NO_VERSION
    if may_read:
        row = connection.execute(bind(admin("read_version"), schema)).fetchone()
        found, has_row = (None, False) if row is None else ((row[0], row[1], row[2]), bool(row[3]))
    else:
        call = rights_queries.installed_version()
        try:
            with connection.transaction():
                found = call.decode(connection.execute(bind(call.sql, schema), call.params).fetchall())
        except (errors.UndefinedTable, errors.UndefinedFunction, errors.InvalidSchemaName):
            return Condition.FUNCTIONS_OUTDATED, _NO_VERSION
        has_row = True  # or a comment, which does as well for this role
    if found is None:
        return Condition.VERSION_UNKNOWN, _NO_VERSION
    return Condition.RECORDED if has_row else Condition.ROW_MISSING, found


def _find_renamed(connection: psycopg.Connection, schema: str) -> tuple[str, ...]:
    wanted = {"schema": schema, "table": bind("horsies.tasks", schema).decode()}
    return tuple(name for (name,) in connection.execute(admin("find_renamed").encode(), wanted).fetchall())


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


def check_usable(found: SchemaStatus, schema: str) -> None:
    """Refuse a schema of a newer release, and one that has to be repaired first.

    Raises:
        SchemaTooNewError: with both versions and the fix.
        RepairNeededError: with the fix.
    """
    if found.condition in {Condition.RENAMED, Condition.VERSION_UNKNOWN, Condition.FUNCTIONS_OUTDATED}:
        msg = f"the schema {schema!r} of this database is {found.describe()}"
        raise RepairNeededError(msg)
    if found.current > found.latest:
        msg = (
            f"the schema {schema!r} of this database has version {found.current}, made by a newer horsies; "
            f"horsies {__version__} knows versions up to {found.latest}: upgrade horsies"
        )
        raise SchemaTooNewError(msg)


def migrate(
    connection: psycopg.Connection,
    schema: str,
    where: FirstInstallation = FirstInstallation.OWN_SCHEMA,
    *,
    wait_s: float = LOCK_WAIT_S,
) -> list[str]:
    """Bring the schema up to date, in one transaction and under an advisory lock.

    Functions are replaced, views are created again, and rights that `horsies.db.rights` has recorded are granted
    again. Tables that other sessions have locked are tried again and again; see `horsies.db.table_locks`.

    Args:
        connection: in autocommit mode. For a first migration, its role needs the right to create in the database, or in
            an existing schema. Later it must be the owner of the tables, or be able to act as the owner.
        schema: the name of the schema.
        where: whether a first migration may use a schema with tables of other programs.
        wait_s: for how long to try, in seconds, while other sessions have locked the tables.

    Returns:
        The applied parts, in order: ``["0001", "functions"]``; ``["row"]`` if only the row of ``schema_version`` was
        missing; empty if the schema was up to date.

    Raises:
        SchemaTooNewError: the schema belongs to a newer release.
        RepairNeededError: the schema was renamed, or its version is not recorded.
        NotTheOwnerError: the role cannot act as the owner of the tables.
        ForeignObjectsError: the schema contains objects of others that are in the way.
        MigrationFailedError: the server has refused a statement of a migration.
        TablesLockedError: the time is up, or another session has held the lock of migrations for 10 seconds. The
            message names the session.
    """
    found = status(connection, schema)
    check_usable(found, schema)
    if found.is_current and (found.condition is Condition.RECORDED or not may_migrate(connection, schema)):
        return []
    pending = [views.mark_views(), *(sqlfiles.migrations()[number] for number in found.pending)]
    applied = retry_while_locked(lambda: _migrate(connection, schema, where), connection, schema, pending, wait_s)
    if applied:
        _validate_constraints(connection, schema)
    return applied


def _migrate(connection: psycopg.Connection, schema: str, where: FirstInstallation) -> list[str]:
    with rights.fixed_path(connection):
        _take_lock(connection)
        connection.execute(admin("limit_lock_waits").encode())
        found = status(connection, schema)
        check_usable(found, schema)
        if found.is_current:  # or another process has migrated it meanwhile
            return restore_row(connection, schema) if found.condition is Condition.ROW_MISSING else []
        _check_home(connection, schema, where) if found.current == 0 else become_owner(connection, schema)
        if found.condition is Condition.ROW_MISSING:
            restore_row(connection, schema)
        dropped = views.drop_views(connection, schema)
        with views.naming_dependents(schema, dropped):
            applied = [_apply(connection, number, schema) for number in found.pending]
            replace_functions(connection, schema)
        views.create_views(connection, schema, dropped)
        _add_partitions(connection, schema)
        rights.regrant(connection, schema)
        version = (found.latest, sqlfiles.functions_hash(schema), __version__)
        connection.execute(bind(admin("record_version"), schema), version)
        connection.execute(bind(admin("record_comment"), schema))
    return [*applied, "functions"]


def restore_row(connection: psycopg.Connection, schema: str) -> list[str]:
    """Insert the missing row of ``schema_version`` again; inside of a transaction with the search path of PostgreSQL.

    It is the only row that has to exist: functions create the rows of other tables when they need them.
    """
    become_owner(connection, schema)
    connection.execute(bind(admin("restore_version"), schema))
    return ["row"]


def _add_partitions(connection: psycopg.Connection, schema: str) -> None:
    """Create the partitions of the next days, unless readers of history are in the way; workers create them, too."""
    with suppress(errors.LockNotAvailable), connection.transaction():
        connection.execute(bind("select horsies.add_partitions(%s)", schema), (PARTITION_DAYS,))


def _validate_constraints(connection: psycopg.Connection, schema: str) -> None:
    """Check existing rows against new constraints in a separate transaction, while others read and write the tables.

    A row that violates a constraint was written while the migration began. The constraint then holds for new rows only,
    and the first claim of that row ends it. The same holds while another session keeps a table locked.
    """
    with suppress(errors.CheckViolation, errors.LockNotAvailable), rights.fixed_path(connection):
        connection.execute(admin("limit_lock_waits").encode())
        become_owner(connection, schema)
        connection.execute(bind(admin("validate_constraints"), schema))


def _take_lock(connection: psycopg.Connection) -> None:
    connection.execute(admin("limit_lock").encode(), (f"{_MAX_LOCK_WAIT_S}s",))
    try:
        with connection.transaction():  # a savepoint, so that the holder can be looked up after a failure
            connection.execute(admin("lock").encode())
    except errors.LockNotAvailable as error:
        message = (
            f"another session has held the lock of migrations for {_MAX_LOCK_WAIT_S} s: {_lock_holder(connection)}"
        )
        raise TablesLockedError(message) from error


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
        _create_schema(connection, schema)
    try:
        connection.execute(bind(sqlfiles.migrations()[number], schema))
    except _NAMED_ELSEWHERE:
        raise
    except psycopg.Error as error:
        msg = (
            f"the migration {number:04} of the schema {schema!r} failed, and nothing was changed: "
            f"{type(error).__name__}: {printable(error.diag.message_primary or str(error))}; undo what was changed or "
            "created by hand in this schema (`horsies db sql` prints what should be there), and migrate again"
        )
        raise MigrationFailedError(msg) from error
    return f"{number:04}"


def _create_schema(connection: psycopg.Connection, schema: str) -> None:
    try:
        connection.execute(bind(admin("create_schema"), schema))
    except errors.InsufficientPrivilege as error:
        role, database = (Identifier(name).as_string() for name in (connection.info.user, connection.info.dbname))
        msg = (
            f"the role {connection.info.user!r} may not create the schema {schema!r}, "
            f"which needs: grant create on database {database} to {role}"
        )
        raise NotTheOwnerError(msg) from error


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


def become_owner(connection: psycopg.Connection, schema: str) -> None:
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
        *sqlfiles.views().values(),
        views.mark_views(),
        f"select horsies.add_partitions({PARTITION_DAYS});",
        admin("record_version").replace("%s, %s, %s", _version_literals(schema)),
        ";",
        admin("record_comment"),
        admin("validate_constraints"),
        ";",
        "commit;",
    ]
    return bind("\n".join(part.rstrip() for part in parts), schema).decode() + "\n"
