"""The SQL files of the package, and the one place where the schema's name is put into SQL."""

import hashlib
import re
from collections.abc import Iterator
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable

from horsies.config.postgres import DEFAULT_SCHEMA, schema_name_problem

_SCHEMA_IN_LITERAL = f"{{{DEFAULT_SCHEMA}}}"
# One token of SQL that may hold the schema's name. The first three are skipped or searched as a whole, so that a quote
# in a comment, or a qualifier in a literal, is not taken for the real thing. Bodies in dollar quotes are read as SQL.
_TOKEN = re.compile(
    rf"""
    (?P<comment> --[^\n]* )
    | (?P<literal> '(?: [^'] | '' )*' )
    | (?P<quoted_name> "(?: [^"] | "" )*" )
    | (?P<qualifier> \b{DEFAULT_SCHEMA}\.(?P<end>;?) )
    """,
    re.VERBOSE,
)


@cache
def qualifier(schema: str) -> str:
    """The schema's name as it stands in SQL: quoted unless it is the default one.

    Raises:
        ValueError: the name could not be used everywhere the SQL files use it.
    """
    problem = schema_name_problem(schema)
    if problem is not None:
        msg = f"schema name {schema!r} {problem}"
        raise ValueError(msg)
    return schema if schema == DEFAULT_SCHEMA else '"' + schema.replace('"', '""') + '"'


@cache
def bind(sql: str, schema: str) -> bytes:
    """Put the schema's name into SQL that is written for the schema ``horsies``.

    In code, ``horsies.name`` becomes a name in the schema and ``horsies.;`` the schema itself. A string literal is data
    and stays as it is, such as the task name in ``'horsies.map'``; a literal that names an object or a channel of the
    schema says so with braces: ``to_regclass('{horsies}.tasks')``.
    """
    name = qualifier(schema)

    def replace(found: re.Match[str]) -> str:
        if found["qualifier"]:
            return name + (found["end"] or ".")
        return found[0].replace(_SCHEMA_IN_LITERAL, name) if found["literal"] else found[0]

    return _TOKEN.sub(replace, sql).encode()


@cache
def numbered(sql: str, schema: str) -> bytes:
    """The same with ``$1``, ``$2``, … for each ``%s``."""
    first, *others = bind(sql, schema).split(b"%s")
    return first + b"".join(b"$%d%s" % (number, text) for number, text in enumerate(others, 1))


def channel(kind: str, schema: str) -> str:
    """The notification channel ``wake``, ``done`` or ``cancel`` of a schema, as the SQL functions name it."""
    return f"{qualifier(schema)}.{kind}"


def listen(name: str) -> bytes:
    """The statement that subscribes to a channel."""
    return ('listen "' + name.replace('"', '""') + '"').encode()


@cache
def _folder(name: str) -> dict[str, str]:
    """The SQL files of a folder and of the folders in it, by file name and in the order of their names."""
    files = _files(resources.files("horsies.db").joinpath("sql", name))
    return {
        file.name.removesuffix(".sql"): file.read_text(encoding="utf-8")
        for file in sorted(files, key=lambda file: file.name)
        if file.name.endswith(".sql")
    }


def _files(folder: Traversable) -> Iterator[Traversable]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _files(entry)
        else:
            yield entry


@cache
def migrations() -> dict[int, str]:
    """Numbered migrations of the tables, as ``{1: sql, 2: sql, …}``."""
    return {int(name.split("_", 1)[0]): sql for name, sql in _folder("migrations").items()}


def functions() -> dict[str, str]:
    """The server functions, by file name."""
    return _folder("functions")


def admin(name: str) -> str:
    """A statement of the migration itself, by file name."""
    return _folder("admin")[name]


@cache
def functions_hash(schema: str) -> str:
    """Fingerprint of all server functions: another one than the database's means they are re-created.

    The bodies of functions name the schema, and ``alter schema … rename`` does not change them, so the name is part of
    what is hashed: a renamed schema gets new functions.
    """
    return hashlib.sha256(b"\n".join(bind(sql, schema) for sql in functions().values())).hexdigest()
