"""The views for monitoring: a versioned contract on tables and functions that change with each release.

A view keeps the tables and functions that it reads from being changed. So a migration drops the views first and creates
them again at its end, with the rights that were granted to them. A view on which objects of users depend cannot be
dropped; it is replaced, which works unless its columns have changed.

Each view has a version, in its file and in the comment on the view in the database. Columns may be added at the end of
a view without a new version. The version changes if a column is removed, renamed, or gets another type or meaning.
"""

import re
from collections.abc import Collection, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import psycopg
from psycopg import errors

from horsies.db import sqlfiles
from horsies.db.functions import MARK, ForeignObjectsError
from horsies.db.sqlfiles import admin, bind
from horsies.rendering import printable

_CREATE = re.compile(r"^create view ", re.MULTILINE)
_VERSION = re.compile(r"^-- Version: (\d+)\.$", re.MULTILINE)

type Connection = psycopg.Connection[Any]


class _Existing(NamedTuple):
    """A relation of the schema that has the name of one of our views.

    Attributes:
        name: its name.
        is_ours: whether it has the mark of horsies.
        definition: the query of a view; None: it is a table.
    """

    name: str
    is_ours: bool
    definition: str | None


@dataclass(frozen=True, slots=True)
class Dropped:
    """The views that a migration has dropped, or could not drop.

    Attributes:
        grants: by the name of each view, the statements that grant the rights that others than its owner had.
        kept: what depends on the views that could not be dropped, in the words of the server.
    """

    grants: dict[str, list[str]]
    kept: list[str]


@cache
def version(name: str) -> int:
    """Return the version of a view.

    Raises:
        ValueError: its file does not say it.
    """
    found = _VERSION.search(sqlfiles.views()[name])
    if found is None:
        msg = f"the file of the view {name} has no line with its version"
        raise ValueError(msg)
    return int(found[1])


def drop_views(connection: Connection, schema: str) -> Dropped:
    """Drop the views that horsies has created, so that they are in no one's way; inside of the migration's transaction.

    A view on which objects of users depend stays.
    """
    wanted = {"schema": schema, "mark": MARK}
    dropped = Dropped({}, [])
    for name, statement in connection.execute(admin("view_grants").encode(), wanted).fetchall():
        dropped.grants.setdefault(name, []).append(statement)
    for (statement,) in connection.execute(admin("drop_views").encode(), wanted).fetchall():
        try:
            with connection.transaction():
                connection.execute(statement.encode())
        except errors.DependentObjectsStillExist as error:
            dropped.kept.append(_detail(error))
    return dropped


def create_views(connection: Connection, schema: str, dropped: Dropped) -> None:
    """Create the views of this release, or replace those that are there; inside of the migration's transaction.

    The rights to the views that were dropped are granted again, also those that horsies has not granted. Rights to
    views and columns that this release no longer has are lost.

    Raises:
        ForeignObjectsError: a relation that horsies has not created has the name of a view, or objects of users depend
            on a view whose columns have changed.
    """
    existing = {each.name: each for each in _existing(connection, schema, sqlfiles.views())}
    for name, sql in sqlfiles.views().items():
        if name in existing:
            _replace(connection, schema, existing[name])
        else:
            connection.execute(bind(sql, schema))
    connection.execute(bind(mark_views(), schema))
    for statement in (each for name in sqlfiles.views() for each in dropped.grants.get(name, [])):
        with suppress(errors.UndefinedColumn), connection.transaction():
            connection.execute(statement.encode())


def _existing(connection: Connection, schema: str, names: Collection[str]) -> list[_Existing]:
    wanted = {"schema": schema, "names": list(names), "mark": MARK}
    return [_Existing(*row) for row in connection.execute(admin("find_views").encode(), wanted).fetchall()]


def _replace(connection: Connection, schema: str, found: _Existing) -> None:
    """Replace a view of ours. A dump without comments loses the mark, but a view with our definition is ours."""
    foreign = ForeignObjectsError(
        f"the schema {schema!r} contains {found.name}, which horsies has not created, and needs to create a view of "
        "this name; rename or drop it, or use another schema"
    )
    if found.definition is None:
        raise foreign
    statement = bind(_CREATE.sub(_as_replacement, sqlfiles.views()[found.name]), schema)
    try:
        with connection.transaction():
            connection.execute(statement)
            [replaced] = _existing(connection, schema, [found.name])
            if not found.is_ours and replaced.definition != found.definition:
                raise foreign
    except errors.InvalidTableDefinition as error:
        if not found.is_ours:
            raise foreign from error
        msg = (
            f"the columns of the view {found.name} of the schema {schema!r} have changed, and other objects depend on "
            "it; drop these, migrate, and create them again"
        )
        raise ForeignObjectsError(msg) from error


def _as_replacement(found: re.Match[str]) -> str:
    return found[0].replace("create", "create or replace", 1)


@contextmanager
def naming_dependents(schema: str, dropped: Dropped) -> Generator[None]:
    """Name the objects of users that keep a migration from dropping or changing something of ours.

    An object may depend on a table itself, or on a view of ours, which then could not be dropped and keeps its tables
    from being changed.

    Raises:
        ForeignObjectsError: there are such objects.
    """
    try:
        yield
    except (errors.DependentObjectsStillExist, errors.FeatureNotSupported) as error:
        if isinstance(error, errors.FeatureNotSupported) and "depends on" not in (error.diag.message_detail or ""):
            raise
        depending = "; ".join([_detail(error), *dropped.kept])
        msg = (
            f"the schema {schema!r} cannot be migrated while other objects depend on what the migration drops or "
            f"changes: {depending}; drop these objects, migrate, and create them again"
        )
        raise ForeignObjectsError(msg) from error


def _detail(error: psycopg.Error) -> str:
    """Return which object depends on which, in one line."""
    return ", ".join(printable(error.diag.message_detail or str(error)).rstrip(".").splitlines())


def mark_views() -> str:
    """Return the statements that mark all views and say their version."""
    marks = {name: f"Version {version(name)} of this view. {MARK}" for name in sqlfiles.views()}
    return "".join(admin("mark_view").replace("{view}", name).replace("{mark}", mark) for name, mark in marks.items())
