"""Rights in the database: which kinds of roles there are, and what each of them may execute and read.

Nobody but the owner may touch a table. The functions that Python calls run with the rights of the owner, as views do,
and each file of a function or a view says in its header to which kinds of roles it is granted.
"""

import re
from collections.abc import Collection, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any

import psycopg
from psycopg import errors

from horsies.db import sqlfiles
from horsies.db.functions import MARK, listed, signature, signatures
from horsies.db.operations import Call
from horsies.db.queries import rights as rights_queries
from horsies.db.sqlfiles import admin, bind

_GRANTED_TO = re.compile(r"^-- Granted to: (.*)\.$", re.MULTILINE)
_NOBODY = "nobody"
_NAMED = 3
_TO_CREATE = "create on database"
_COUNTED = {"execute on": "function", "read access to": "view"}

type Connection = psycopg.Connection[Any]


class RightsError(Exception):
    """Rights cannot be granted or revoked."""


class Kind(StrEnum):
    """The purpose of a role.

    Attributes:
        PRODUCER: sends tasks, starts workflows, waits for results, cancels.
        WORKER: runs workers and schedulers. Tasks may also do everything that a producer may.
        VIEWER: sees everything except arguments and results.
        ARGUMENTS: also sees arguments and results; an addition to VIEWER or OPERATOR.
        OPERATOR: a viewer who may also pause queues and schedules, cancel, and rerun tasks.
    """

    PRODUCER = "producer"
    WORKER = "worker"
    VIEWER = "viewer"
    ARGUMENTS = "arguments"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Grant:
    """A recorded grant.

    Attributes:
        role: the name of the role.
        kind: the kind of rights.
        exists: whether the server still has the role.
    """

    role: str
    kind: Kind
    exists: bool


@contextmanager
def fixed_path(connection: Connection) -> Generator[None]:
    """Begin a transaction in which names mean those of PostgreSQL, whatever other roles have created elsewhere."""
    with connection.transaction():
        connection.execute(admin("fix_path").encode())
        yield


@cache
def granted_to(sql: str) -> frozenset[Kind]:
    """Return the kinds of roles that the header of the file of a function or a view names."""
    found = _GRANTED_TO.search(sql)
    named = _NOBODY if found is None else found[1]
    return frozenset() if named == _NOBODY else frozenset(Kind(each) for each in named.split(", "))


def functions_of(kinds: Collection[Kind]) -> list[str]:
    """Return the names of the functions that roles of these kinds need."""
    return [name for name, sql in sqlfiles.functions().items() if granted_to(sql) & set(kinds)]


def function_signatures(kinds: Collection[Kind]) -> list[str]:
    """Return the signatures of the functions that roles of these kinds need."""
    return [signature(sql) for sql in sqlfiles.functions().values() if granted_to(sql) & set(kinds)]


def views_of(kinds: Collection[Kind]) -> list[str]:
    """Return the names of the views that roles of these kinds may read."""
    return [name for name, sql in sqlfiles.views().items() if granted_to(sql) & set(kinds)]


def _on_views(statement: str, names: Collection[str]) -> list[str]:
    """Return a statement about views; none without views."""
    return [admin(statement).replace("{views}", listed(sorted(names)))] if names else []


def _quote_role(role: str) -> str:
    return '"' + role.replace('"', '""') + '"'


def _for_role(statement: str, schema: str, role: str) -> str:
    """Insert the schema and the role into a statement. Neither of them is searched for placeholders."""
    parts = [part.split("{role_literal}") for part in statement.split("{role}")]
    literal = "'" + role.replace("'", "''") + "'"
    return _quote_role(role).join(literal.join(bind(each, schema).decode() for each in part) for part in parts)


def grant_sql(schema: str, role: str, kinds: Collection[Kind]) -> str:
    """Return the statements that grant and record the rights of these kinds."""
    given = admin("grant").replace("{functions}", listed(function_signatures(kinds)))
    recorded = [admin("record_grant").replace("{kind}", kind) for kind in sorted(kinds)]
    statements = [given, *_on_views("grant_views", views_of(kinds)), *recorded]
    return "".join(_for_role(statement, schema, role) for statement in statements)


def revoke_sql(schema: str, role: str, kinds: Collection[Kind], kept: Collection[Kind] = ()) -> str:
    """Return the statements that take away the rights of these kinds, except those that the kinds ``kept`` need."""
    names = set(function_signatures(kinds)) - set(function_signatures(kept))
    statements = [admin("revoke").replace("{functions}", listed(sorted(names)))] if names else []
    statements += _on_views("revoke_views", set(views_of(kinds)) - set(views_of(kept)))
    if not kept:
        statements.append(admin("revoke_usage"))
    statements.append(admin("forget_grants").replace("{kinds}", ", ".join(f"'{kind}'" for kind in sorted(kinds))))
    return "".join(_for_role(statement, schema, role) for statement in statements)


def script(statements: str) -> str:
    """Return the statements of `grant_sql` or `revoke_sql` as one transaction, to be reviewed or executed by hand."""
    return admin("script").replace("{statements}", statements)


def list_grants(connection: Connection, schema: str) -> list[Grant]:
    """Return the recorded grants, by role and kind. Needs the rights of any kind."""
    rows = _ask(connection, schema, rights_queries.list_grants())
    return [Grant(role, Kind(kind), exists) for role, kind, exists in rows]


def _ask[R](connection: Connection, schema: str, call: Call[R]) -> R:
    with fixed_path(connection):
        return call.decode(connection.execute(bind(call.sql, schema), call.params).fetchall())


def kinds_of(grants: Iterable[Grant], role: str) -> set[Kind]:
    """Return the kinds that are recorded for a role."""
    return {grant.kind for grant in grants if grant.role == role}


def regrant(connection: Connection, schema: str) -> None:
    """Grant everything that is recorded; inside of the migration's transaction, when functions and views are there."""
    grants = [grant for grant in list_grants(connection, schema) if grant.exists]
    every = set(signatures())
    for role in sorted({grant.role for grant in grants}):
        kinds = kinds_of(grants, role)
        unwanted = sorted(every - set(function_signatures(kinds)))
        taken = [
            admin("revoke").replace("{functions}", listed(unwanted)),
            *_on_views("revoke_views", set(sqlfiles.views()) - set(views_of(kinds))),
        ]
        statements = [*(_for_role(each, schema, role) for each in taken), grant_sql(schema, role, kinds)]
        connection.execute("".join(statements).encode())


def check_creators(connection: Connection, schema: str) -> None:
    """Refuse a schema in which others may create objects.

    Raises:
        RightsError: with the roles and the statement that takes the right from them.
    """
    problem = creators_problem(connection, schema)
    if problem is not None:
        found, fix = problem
        msg = f"{found}; take that right away first: {fix}"
        raise RightsError(msg)


def creators_problem(connection: Connection, schema: str) -> tuple[str, str] | None:
    """Say which roles other than the owner may create objects in the schema, and how to change that; None: nobody."""
    with fixed_path(connection):
        rows = connection.execute(bind(admin("creators"), schema), {"schema": schema}).fetchall()
    if not rows:
        return None
    roles = [role for (role,) in rows]
    shown = ", ".join("public" if role == "PUBLIC" else _quote_role(role) for role in roles)
    found = f"these roles may create objects in the schema {schema!r} and change what its functions do: {shown}"
    return found, f"revoke create on schema {_quote_role(schema)} from {shown}"


def excessive_rights(connection: Connection, schema: str) -> list[tuple[str, str]]:
    """List the roles with rights that only the owner should have, each with an example: ``("shop", "table tasks")``."""
    helpers = [name for name, sql in sqlfiles.functions().items() if not granted_to(sql)]
    wanted = {"tables": [*sqlfiles.tables(), *sqlfiles.views()], "helpers": helpers, "mark": MARK}
    with fixed_path(connection):
        return connection.execute(bind(admin("excessive_rights"), schema), wanted).fetchall()


def own_kinds(connection: Connection, schema: str) -> set[Kind]:
    """Return the kinds that are recorded for the connection's role, or for a role that it belongs to.

    A role that may not even ask, because nothing was granted to it, has no kinds. Nor has one in an older schema, or in
    a renamed one whose functions still contain the old name.
    """
    try:
        return {Kind(kind) for kind in _ask(connection, schema, rights_queries.own_kinds())}
    except (errors.InsufficientPrivilege, errors.UndefinedFunction, errors.UndefinedTable, errors.InvalidSchemaName):
        return set()


def grant_command(kinds: Collection[Kind], role: str) -> str:
    """Return the command that grants rights of these kinds; without a kind, those of a worker."""
    main = [kind for kind in kinds if kind is not Kind.ARGUMENTS] or [Kind.WORKER]
    more = " --with-arguments" if Kind.ARGUMENTS in kinds else ""
    return " and ".join(f"horsies db grant MODULE:APP --{kind}{more} {role}" for kind in sorted(main))


def describe_lacking(role: str, lacking: Sequence[str], kinds: Collection[Kind]) -> str:
    """Return a sentence about rights that a role lacks, with the command that grants them."""
    found = f"the role {role!r} lacks {', '.join(lacking)}"
    if any(right.startswith(_TO_CREATE) for right in lacking):
        return f"{found}; run as a role that may create schemas in it: horsies db migrate MODULE:APP"
    return f"{found}; run as the owner of the schema: {grant_command(kinds, role)}"


def check_rights(connection: Connection, schema: str, kind: Kind, *, may_create: bool) -> None:
    """Refuse a role that lacks rights of a kind.

    Args:
        connection: of the role.
        schema: the schema.
        kind: the purpose of the role.
        may_create: whether the role is to create the schema if there is none.

    Raises:
        RightsError: with the missing rights, and with the command that grants them.
    """
    lacking = lacking_rights(connection, schema, functions_of([kind]), views_of([kind]), to_create=may_create)
    if lacking:
        raise RightsError(describe_lacking(connection.info.user, lacking, [kind]))


def lacking_rights(
    connection: Connection, schema: str, functions: Sequence[str], views: Sequence[str] = (), *, to_create: bool = True
) -> list[str]:
    """List the rights to call functions and read views that the role lacks: ``["usage on schema jobs"]``.

    Args:
        connection: of the role.
        schema: the schema.
        functions: the names of the functions.
        views: the names of the views.
        to_create: whether the role also needs the right to create the schema, if there is none.
    """
    wanted = {"schema": schema, "names": list(functions), "views": list(views), "mark": MARK}
    with fixed_path(connection):
        rows = connection.execute(admin("lacking_rights").encode(), wanted).fetchall()
    others = [f"{right} {name}" for right, name in rows if right not in _COUNTED and (to_create or right != _TO_CREATE)]
    denied = {right: [name for each, name in rows if each == right] for right in _COUNTED}
    return [*others, *(_counted(right, names) for right, names in denied.items() if names)]


def _counted(right: str, names: Sequence[str]) -> str:
    named = ", ".join([*names[:_NAMED], *(["…"] if len(names) > _NAMED else [])])
    return f"{right} {len(names)} {_COUNTED[right]}{'s' * (len(names) != 1)} ({named})"
