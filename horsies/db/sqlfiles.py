"""The SQL files of the package, and the only place where the name of the schema is inserted into SQL."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable

from horsies.config.postgres import DEFAULT_SCHEMA, schema_name_problem

_TABLE = re.compile(rf"^create table {DEFAULT_SCHEMA}\.(\w+)", re.MULTILINE)
_SCHEMA_IN_LITERAL = f"{{{DEFAULT_SCHEMA}}}"
# A token of SQL that may contain the name of the schema. Comments, literals and quoted names are matched as a whole, so
# that a quote in a comment does not begin a literal. Bodies in dollar quotes are read as SQL.
_TOKEN = re.compile(
    rf"""
    (?P<comment> --[^\n]* )
    | (?P<literal> '(?: [^'] | '' )*' )
    | (?P<quoted_name> "(?: [^"] | "" )*" )
    | ::(?P<cast> (?: text | uuid | json | bytea | timestamptz | float8 | name ) \b )
    | (?P<qualifier> \b{DEFAULT_SCHEMA}\.(?P<end> ; | (?=\s) )? )
    """,
    re.VERBOSE,
)


@cache
def qualifier(schema: str) -> str:
    """Return the name of a schema for SQL: quoted, unless it is the default name.

    Raises:
        ValueError: the name cannot be used in all places where the SQL files use it.
    """
    problem = schema_name_problem(schema)
    if problem is not None:
        msg = f"schema name {schema!r} {problem}"
        raise ValueError(msg)
    return schema if schema == DEFAULT_SCHEMA else '"' + schema.replace('"', '""') + '"'


@cache
def bind(sql: str, schema: str) -> bytes:
    """Insert the name of a schema into SQL that is written for the schema ``horsies``.

    In code, ``horsies.name`` becomes a name in the schema. ``horsies.`` before white space or a semicolon becomes the
    schema itself. String literals are data and stay unchanged, such as the task name ``'horsies.map'``. A literal that
    names an object or a channel of the schema marks that with braces: ``to_regclass('{horsies}.tasks')``.

    A cast such as ``::text`` is qualified with ``pg_catalog``. Calls are made with the search path of the session, on
    which a type ``text`` of another role may come first.
    """
    name = qualifier(schema)

    def replace(found: re.Match[str]) -> str:
        if found["cast"]:
            return f"::pg_catalog.{found['cast']}"
        if found["qualifier"]:
            return name + ("." if found["end"] is None else found["end"])
        return found[0].replace(_SCHEMA_IN_LITERAL, name) if found["literal"] else found[0]

    return _TOKEN.sub(replace, sql).encode()


@cache
def numbered(sql: str, schema: str) -> bytes:
    """Return the same as `bind`, with ``$1``, ``$2``, … in place of each ``%s``."""
    first, *others = bind(sql, schema).split(b"%s")
    return first + b"".join(b"$%d%s" % (number, text) for number, text in enumerate(others, 1))


def channel(kind: str, schema: str) -> str:
    """Return the name of the notification channel ``wake``, ``done``, ``cancel`` or ``ping`` of a schema."""
    return f"{qualifier(schema)}.{kind}"


def listen(name: str) -> bytes:
    """Return the statement that subscribes to a channel."""
    return ('listen "' + name.replace('"', '""') + '"').encode()


@cache
def _folder(name: str) -> dict[str, str]:
    """Return the SQL files of a folder and its subfolders, by file name without suffix, ordered by name."""
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
    """Return the migrations of the tables: ``{1: sql, 2: sql, …}``."""
    return {int(name.split("_", 1)[0]): sql for name, sql in _folder("migrations").items()}


def tables() -> list[str]:
    """Return the names of all tables, without the partitions that are created for each day or month."""
    return [name for sql in migrations().values() for name in _TABLE.findall(sql)]


def functions() -> dict[str, str]:
    """Return the server functions, by file name."""
    return _folder("functions")


def views() -> dict[str, str]:
    """Return the views for monitoring, by file name."""
    return _folder("views")


def admin(name: str) -> str:
    """Return a statement that the Python code executes directly, such as those of migrations, by file name."""
    return _folder("admin")[name]


@cache
def functions_hash(schema: str) -> str:
    """Return a fingerprint of all server functions and views.

    If it differs from the one in the database, they are recreated. The bodies of functions contain the name of the
    schema, and ``alter schema … rename`` does not change them. The name is hashed too, so that a renamed schema gets
    new functions.
    """
    return hash_of(schema, [*functions().values(), *views().values()])


def hash_of(schema: str, files: Iterable[str]) -> str:
    """Return a fingerprint of SQL files in a schema."""
    return hashlib.sha256(b"\n".join(bind(sql, schema) for sql in files)).hexdigest()
