"""The server functions in a database: which of them horsies has created, and how a migration replaces them.

A schema may also contain functions of its users. So each function that horsies creates is marked with a comment. A
migration replaces the functions with ``create or replace function``, which keeps the privileges, and drops only
functions with the mark: those that this release no longer has, and those whose result type or parameter names have
changed, which PostgreSQL cannot replace.
"""

import re
from functools import cache
from typing import Any

import psycopg
from psycopg import errors

from horsies.db import sqlfiles
from horsies.db.sqlfiles import admin, bind

MARK = "Created by horsies, and replaced or dropped when it migrates the schema."
_CREATE = re.compile(r"^create function horsies\.(\w+)\(([^()]*)\)", re.MULTILINE)
_DEFAULT = re.compile(r"\s+default\s.*")
_BODY = re.compile(r"\$function\$(.*)\$function\$", re.DOTALL)

type Connection = psycopg.Connection[Any]


class ForeignObjectsError(Exception):
    """The schema contains objects that horsies has not created and must not change."""


@cache
def signature(sql: str) -> str:
    """Return the name and the types of the parameters of the function that a file creates: ``cancel(uuid)``.

    Raises:
        ValueError: the text does not create a function.
    """
    found = _CREATE.search(sql)
    if found is None:
        msg = "the file does not create a function of the schema"
        raise ValueError(msg)
    parameters = [_DEFAULT.sub("", each.strip()) for each in found[2].split(",") if each.strip()]
    inputs = [each for each in parameters if not each.startswith("out ")]  # PostgreSQL identifies a function by these
    return f"{found[1]}({', '.join(each.split(maxsplit=1)[1] for each in inputs)})"


def body(sql: str, schema: str) -> str | None:
    """Return the body of the function that a file creates, as PostgreSQL stores it."""
    found = _BODY.search(bind(sql, schema).decode())
    return None if found is None else found[1]


def signatures() -> list[str]:
    """Return the signatures of all server functions of this release."""
    return [signature(sql) for sql in sqlfiles.functions().values()]


def replace_functions(connection: Connection, schema: str) -> None:
    """Create the functions of this release, and drop those of earlier releases; inside of the migration's transaction.

    Raises:
        ForeignObjectsError: a function that horsies has not created has one of the signatures.
    """
    existing = _existing(connection, schema)
    foreign = [name for name, is_ours in existing.items() if not is_ours]
    if foreign:
        msg = (
            f"the schema {schema!r} contains functions that horsies has not created, and needs to create: "
            f"{', '.join(foreign)}; rename or drop them, or use another schema"
        )
        raise ForeignObjectsError(msg)
    wanted = {"signatures": signatures(), "mark": MARK, "schema": schema}
    for (obsolete,) in connection.execute(bind(admin("obsolete_functions"), schema), wanted).fetchall():
        connection.execute(_for_function("drop_function", obsolete, schema))
    for sql in sqlfiles.functions().values():
        _replace(connection, sql, schema, exists=signature(sql) in existing)
    connection.execute(restrict_functions(schema).encode())


def _existing(connection: Connection, schema: str) -> dict[str, bool]:
    """For each function of this release that exists: whether horsies has created it.

    A dump without comments loses the marks, but a function with our body is ours.
    """
    bodies = {signature(sql): body(sql, schema) for sql in sqlfiles.functions().values()}
    found = connection.execute(bind(admin("find_functions"), schema), {"signatures": list(bodies), "mark": MARK})
    return {name: is_ours or source == bodies[name] for name, exists, is_ours, source in found if exists}


def _replace(connection: Connection, sql: str, schema: str, *, exists: bool) -> None:
    statement = bind(_CREATE.sub(lambda found: found[0].replace("create", "create or replace", 1), sql), schema)
    if not exists:
        connection.execute(statement)
        return
    try:
        with connection.transaction():
            connection.execute(statement)
    except errors.InvalidFunctionDefinition:  # the result type, or the name or default of a parameter, has changed
        connection.execute(_for_function("drop_function", signature(sql), schema))
        connection.execute(statement)


def _for_function(statement: str, name: str, schema: str) -> bytes:
    return bind(admin(statement).replace("{signature}", name), schema)


def restrict_functions(schema: str) -> str:
    """Return the statements that mark all functions and take from PUBLIC the right to execute them."""
    marked = [admin("mark_function").replace("{signature}", name).replace("{mark}", MARK) for name in signatures()]
    revoked = admin("revoke_from_public").replace("{functions}", listed(signatures()))
    return "".join(bind(statement, schema).decode() for statement in (*marked, revoked))


def listed(names: list[str]) -> str:
    """List functions for a GRANT or REVOKE statement that is written for the schema ``horsies``."""
    return ",\n    ".join(f"horsies.{name}" for name in names)
