"""Repairing a schema after a dump without data, a test cleaner or a change by hand.

`plan` looks for what is wrong and changes nothing. Each `Step` says what was found and what will be done, so that the
command line can show the plan before `repair` executes it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import errors

from horsies.db import migrate, rights, sqlfiles, views
from horsies.db.functions import replace_functions, signatures
from horsies.db.health import drift
from horsies.db.migrate import Condition
from horsies.db.rights import Kind
from horsies.db.sqlfiles import admin, bind
from horsies.rendering import printable

_SCRATCH = "horsies_repair"
_LISTED = 5
REPAIRABLE = ("function ", "view ")
"""What differences that `repair` mends begin with."""
LONG_WAIT_S = 60.0
"""How long the command line tries to change tables that other sessions have locked, in seconds."""

type Connection = psycopg.Connection[Any]


class RepairError(Exception):
    """The schema cannot be repaired automatically."""


REPAIR_ERRORS = (RepairError, *migrate.MIGRATION_ERRORS)
"""Refusals of `plan` and `repair`, besides errors of the database."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to repair.

    Attributes:
        found: the problem.
        action: what `repair` does about it.
        apply: does it.
    """

    found: str
    action: str
    apply: Callable[[], object]


def plan(connection: Connection, schema: str) -> list[Step]:
    """Look for what is wrong with a schema; changes nothing. Empty: nothing has to be repaired.

    If the schema was renamed, or if its version is not recorded, this is the only step. `repair` then looks again.

    Raises:
        RepairError: there is no schema, or its state is one that only its owner can judge.
        SchemaTooNewError: the schema belongs to a newer release.
    """
    found = migrate.status(connection, schema)
    if found.condition is Condition.ABSENT:
        msg = f"the schema {schema!r} of this database is {found.describe()}"
        raise RepairError(msg)
    if found.condition is Condition.RENAMED:
        return [_rename_back(connection, schema, found.renamed_to)]
    if found.condition is Condition.VERSION_UNKNOWN:
        return [_record_version(connection, schema)]
    migrate.check_usable(found, schema)
    steps: list[Step] = []
    if found.condition is Condition.ROW_MISSING:
        what = "the row of `schema_version` is missing, after TRUNCATE or in a dump without data"
        how = f"insert it again: version {found.current}, known from the comment on the table"
        steps.append(Step(what, how, lambda: _in_transaction(connection, schema, migrate.restore_row)))
    if not found.is_current:
        what = f"the schema is {found.describe()}"
        steps.append(Step(what, "migrate the schema", lambda: migrate.migrate(connection, schema, wait_s=LONG_WAIT_S)))
        return steps
    return [*steps, *_changed_functions(connection, schema), *_changed_tables(connection, schema)]


def repair(connection: Connection, schema: str) -> list[str]:
    """Repair what `plan` finds, and look again until it finds nothing else.

    Args:
        connection: in autocommit mode, with a role that may act as the owner of the tables.
        schema: the name of the schema.

    Returns:
        The actions of the steps that were executed; empty if nothing had to be repaired.

    Raises:
        RepairError: see `plan`.
        NotTheOwnerError: the role cannot act as the owner of the tables.
    """
    done: list[str] = []
    while steps := [step for step in plan(connection, schema) if step.action not in done]:
        for step in steps:
            step.apply()
            done.append(step.action)
    return done


def _in_transaction(connection: Connection, schema: str, change: Callable[[Connection, str], object]) -> None:
    with rights.fixed_path(connection):
        connection.execute(admin("lock").encode())
        connection.execute(admin("limit_lock_waits").encode())
        change(connection, schema)


def _rename_back(connection: Connection, schema: str, renamed_to: tuple[str, ...]) -> Step:
    what = f"the schema {schema!r} was renamed to {' and '.join(map(repr, renamed_to))}"
    first, *others = renamed_to
    is_taken = connection.execute(admin("find_schema").encode(), (schema,)).fetchone() is not None
    if others or is_taken:
        reason = (
            f"another schema has the name {schema!r} now"
            if is_taken
            else "nothing says which of them belongs to this app"
        )
        msg = (
            f"{what}, and {reason}: set PostgresConfig(schema={first!r}) and run `horsies db migrate`, or rename the "
            "schemas by hand"
        )
        raise RepairError(msg)
    names = {"{old}": sqlfiles.qualifier(first), "{new}": sqlfiles.qualifier(schema)}
    statement = admin("rename_schema")
    for placeholder, name in names.items():
        statement = statement.replace(placeholder, name)
    action = f"give it its old name again (to keep the new name, set PostgresConfig(schema={first!r}) instead)"
    return Step(what, action, lambda: connection.execute(statement.encode()))


def _record_version(connection: Connection, schema: str) -> Step:
    version = _matching_version(connection, schema)
    if version is None:
        msg = (
            f"the version of the schema {schema!r} is not recorded, and its tables are not exactly those of any "
            "version that this release knows: dump it again without --no-comments, or drop the schema and run "
            "`horsies db migrate`"
        )
        raise RepairError(msg)

    def record(connection: Connection, schema: str) -> None:
        migrate.become_owner(connection, schema)
        connection.execute(bind(admin("insert_version"), schema), (version,))

    what = "the version of the schema is not recorded, as in a dump without data and without comments"
    action = f"record version {version}, because the tables are those of this version"
    return Step(what, action, lambda: _in_transaction(connection, schema, record))


def _matching_version(connection: Connection, schema: str) -> int | None:
    """Find the latest version with exactly these tables: create those of each version, compare, and roll back."""
    found, matching = _parts(connection, schema), None
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(admin("fix_path").encode())
            connection.execute(bind(admin("create_schema"), _SCRATCH))
            for number, sql in sorted(sqlfiles.migrations().items()):
                connection.execute(bind(sql, _SCRATCH))
                matching = number if _parts(connection, _SCRATCH) == found else matching
    except errors.InsufficientPrivilege as error:
        msg = (
            f"the version of the schema {schema!r} is not recorded; to find it, the role {connection.info.user!r} "
            "needs the right to create a schema in the database, which is rolled back"
        )
        raise RepairError(msg) from error
    return matching


def _parts(connection: Connection, schema: str) -> set[tuple[str, str, str]]:
    wanted = {"schema": schema, "names": sqlfiles.tables()}
    return set(connection.execute(admin("table_parts").encode(), wanted).fetchall())


def _changed_functions(connection: Connection, schema: str) -> Iterator[Step]:
    """Find functions and views that were changed or dropped by hand, and rights to them that a dump has lost."""

    def create(connection: Connection, schema: str) -> None:
        migrate.become_owner(connection, schema)
        dropped = views.drop_views(connection, schema)
        with views.naming_dependents(schema, dropped):
            replace_functions(connection, schema)
        views.create_views(connection, schema, dropped)
        rights.regrant(connection, schema)

    differing = [each for each in drift(connection, schema) if each.startswith(REPAIRABLE)]
    if differing:
        what = f"these differ from this release: {_shortened(differing)}"
        yield Step(what, "create all functions and views again", lambda: _in_transaction(connection, schema, create))
    granted = _granted(connection, schema)
    if "PUBLIC" in granted:
        what = "every role of the database may call server functions, as in a dump without privileges"
        action = "take this right from PUBLIC, and grant again what is recorded"
        yield Step(what, action, lambda: _in_transaction(connection, schema, create))
    unrecorded = {role: kinds for role, kinds in _unrecorded(connection, schema, granted).items() if kinds}

    def record(connection: Connection, schema: str) -> None:
        migrate.become_owner(connection, schema)
        for role, kinds in unrecorded.items():
            connection.execute(rights.grant_sql(schema, role, kinds).encode())

    if unrecorded:
        roles = [f"{printable(repr(role))} ({', '.join(sorted(kinds))})" for role, kinds in unrecorded.items()]
        what = f"the rights of these roles are not recorded, so migrations do not grant them again: {_shortened(roles)}"
        yield Step(what, "record their rights", lambda: _in_transaction(connection, schema, record))


def _granted(connection: Connection, schema: str) -> dict[str, set[str]]:
    wanted = {"signatures": signatures()}
    with rights.fixed_path(connection):
        rows = connection.execute(bind(admin("granted_functions"), schema), wanted).fetchall()
    return {role: set(names) for role, names in rows}


def _unrecorded(connection: Connection, schema: str, granted: dict[str, set[str]]) -> dict[str, set[Kind]]:
    """Find roles without a recorded grant, and the kinds whose functions they may call.

    A kind is left out if another one includes its functions.
    """
    recorded = {grant.role for grant in rights.list_grants(connection, schema)}
    needed = {kind: set(rights.function_signatures([kind])) for kind in Kind}
    found: dict[str, set[Kind]] = {}
    for role, names in granted.items():
        if role != "PUBLIC" and role not in recorded:
            kinds = [kind for kind, functions in needed.items() if functions <= names]
            found[role] = {kind for kind in kinds if not any(needed[kind] < needed[other] for other in kinds)}
    return found


def _changed_tables(connection: Connection, schema: str) -> Iterator[Step]:
    """Find tables whose rows a publication could not identify."""
    wanted = {"schema": schema, "names": sqlfiles.tables()}
    with rights.fixed_path(connection):
        rows = connection.execute(bind(admin("unidentified_rows"), schema), wanted).fetchall()

    def identify(connection: Connection, schema: str) -> None:
        migrate.become_owner(connection, schema)
        for _, statement in rows:
            connection.execute(statement.encode())

    if rows:
        what = f"a publication cannot identify the rows of these tables: {_shortened([name for name, _ in rows])}"
        yield Step(what, "set their replica identity", lambda: _in_transaction(connection, schema, identify))


def _shortened(names: Sequence[str]) -> str:
    return ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")
