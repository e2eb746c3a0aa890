"""Databases of tests: each test gets a clone of a template, which is migrated once.

The server clones the next database while the present test runs, and drops the last one: the statements are sent without
waiting for their replies, so this needs no thread. The server is the one that HORSIES_TEST_DATABASE_URL names, or
else an embedded server that is stopped and deleted at the end of the test run.
"""

import atexit
import hashlib
import os
import shutil
import tempfile
import time
import uuid
from collections import deque
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, LiteralString, cast
from urllib.parse import quote, unquote, urlsplit

import psutil
import psycopg
from psycopg import generators
from psycopg.pq import ExecStatus
from psycopg.rows import tuple_row
from psycopg.sql import SQL, Composable, Composed, Identifier

from horsies.config.postgres import DEFAULT_SCHEMA
from horsies.db.migrate import migrate
from horsies.db.sqlfiles import admin, bind, functions_hash, migrations
from horsies.embedded import server as embedded
from horsies.testing.errors import QueueTestError

URL_VARIABLE = "HORSIES_TEST_DATABASE_URL"
RUN_VARIABLE = "HORSIES_TESTING_RUN"
"""The folder and the name of the run. pytest-xdist passes it on to its workers, which share server and template."""

_PREFIX = "horsies-test-"
_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "autovacuum": "off",
    "max_wal_size": "256MB",
    "max_connections": "200",
    "log_min_messages": "warning",
}
_MEMORY = Path("/dev/shm")  # noqa: S108 - not a shared folder for temporary files, but a file system in memory
_MEMORY_NEEDED = 2 << 30
_STOP_WITHIN_S = 20.0
_POLL_S = 0.02
_TEMPLATE_LOCK = 471_147
_CLOCK_MARK = "-- horsies.testing"
_HAS_FORCE = 13_00_00
_HAS_STRATEGIES = 15_00_00
_clones: set[str] = set()


def begin_run() -> bool:
    """Name this run, for this process and those that it starts; returns whether it was not named before."""
    if RUN_VARIABLE in os.environ:
        return False
    name = f"{_PREFIX}{os.getpid()}-{uuid.uuid4().hex[:8]}"
    os.environ[RUN_VARIABLE] = str(_data_folder() / name)
    return True


def end_run() -> None:
    """Remove what the run has created, after all its processes have ended."""
    home = Path(os.environ.pop(RUN_VARIABLE))
    if url := os.environ.get(URL_VARIABLE):
        with _connect(url) as session:
            left = session.execute(admin("databases_of_run").encode(), (_name(home),))
            for (name,) in left.fetchall():
                _end_sessions(session, name)
                session.execute(_drop(name, session.info.server_version))
    elif home.exists():
        _remove(home)


def is_clone(url: str) -> bool:
    """Whether a database was cloned from a template, so that its schema is prepared."""
    return url in _clones


def has_clone(path: str) -> bool:
    """Whether a database was cloned whose URL has this path, whatever the other parts of the URL are."""
    return any(path == urlsplit(url).path for url in _clones)


def _data_folder() -> Path:
    """Return the folder for the data: a file system in memory, if there is one with enough space."""
    if _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK):
        free = min(shutil.disk_usage(_MEMORY).free, psutil.virtual_memory().available)
        if free > _MEMORY_NEEDED:
            return _MEMORY
    return Path(tempfile.gettempdir())


def _remove(home: Path) -> None:
    deadline = time.monotonic() + _STOP_WITHIN_S
    while embedded.is_running(home) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    shutil.rmtree(home, ignore_errors=True)


def _remove_stale(folder: Path) -> None:
    """Remove the data of runs that were killed."""
    for home in folder.glob(f"{_PREFIX}*"):
        pid = home.name.removeprefix(_PREFIX).partition("-")[0]
        is_ours = pid.isdecimal() and os.access(home, os.W_OK)
        if is_ours and not psutil.pid_exists(int(pid)) and not embedded.is_running(home):
            shutil.rmtree(home, ignore_errors=True)


def _name(home: Path) -> str:
    return home.name.replace("-", "_")


def _connect(url: str) -> psycopg.Connection[Any]:
    """Open a session without the limits of time that a server may set."""
    session = psycopg.connect(url, autocommit=True, application_name="horsies-testing", client_encoding="utf8")
    session.execute(admin("lift_limits").encode())
    return session


def _end_sessions(session: psycopg.Connection[Any], name: str) -> None:
    session.execute(admin("end_sessions").encode(), (name,))


def _sql(file: str, /, **parts: Composable) -> Composed:
    """Return a statement of ``sql/admin`` with its parts."""
    text = cast("LiteralString", admin(file))  # type: ignore[redundant-cast] # mypy has no LiteralString
    return SQL(text).format(**parts)


def _clone_of(name: str, template: str, strategy: Composable) -> Composed:
    return _sql("clone_database", name=Identifier(name), template=Identifier(template), strategy=strategy)


def _drop(name: str, server_version: int) -> Composed:
    force = SQL(" with (force)") if server_version >= _HAS_FORCE else SQL("")
    return _sql("drop_database", name=Identifier(name), force=force)


class _Background:
    """A connection over which statements run one after the other, while this process does something else."""

    def __init__(self, url: str) -> None:
        self._connection = _connect(url)
        self._waiting: deque[bytes] = deque()
        self._is_busy = False

    @property
    def server_version(self) -> int:
        """The version of the server, as in `psycopg.ConnectionInfo.server_version`."""
        return self._connection.info.server_version

    def send(self, statement: Composed) -> None:
        """Run a statement after those that were sent before."""
        self._waiting.append(statement.as_bytes(self._connection))
        self._advance()

    def finish(self) -> None:
        """Wait until all statements have been run.

        Raises:
            psycopg.Error: a statement failed.
        """
        while self._is_busy or self._waiting:
            self._receive()
            self._advance()

    def close(self) -> None:
        """Run the remaining statements, and close the connection."""
        self.finish()
        self._connection.close()

    def execute(self, query: Any, params: tuple[Any, ...] = ()) -> psycopg.Cursor[Any]:
        """Run a statement now, after those that were sent before."""
        self.finish()
        return self._connection.execute(query, params)

    def end_sessions(self, name: str) -> None:
        """End the sessions of a database."""
        self.finish()
        _end_sessions(self._connection, name)

    def _advance(self) -> None:
        pgconn = self._connection.pgconn
        if self._is_busy:
            pgconn.consume_input()
            if pgconn.is_busy():
                return
            self._receive()
        if self._waiting:
            pgconn.send_query(self._waiting.popleft())
            self._connection.wait(generators.send(pgconn))
            self._is_busy = True

    def _receive(self) -> None:
        if self._is_busy:
            results = self._connection.wait(generators.fetch_many(self._connection.pgconn))
            self._is_busy = False
            for result in results:
                if result.status is ExecStatus.FATAL_ERROR:
                    raise psycopg.errors.error_from_result(result)


def _setup_function(setup: str) -> Callable[[str], object]:
    """Return the function that creates the tables of the application.

    Raises:
        QueueTestError: The text does not name a function.
    """
    module, _, name = setup.partition(":")
    if not module or not name:
        msg = f'horsies_setup takes module:function, such as "tables:create", got {setup!r}'
        raise QueueTestError(msg)
    try:
        function = getattr(import_module(module), name, None)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        msg = (
            f"horsies_setup={setup!r}: there is no module {error.name!r}. If it is in the folder of the project, add "
            'pythonpath = ["."] to the settings of pytest'
        )
        raise QueueTestError(msg) from error
    if not callable(function):
        msg = f"horsies_setup={setup!r}: the module {module!r} has no function {name!r}"
        raise QueueTestError(msg)
    return function


class TestDatabases:
    """Makes databases for tests, by cloning a template.

    Args:
        setup: ``module:function``, which gets the URL of the template and creates the tables of the application there.

    Raises:
        QueueTestError: There is no server, or ``setup`` does not name a function.
    """

    __test__ = False

    def __init__(self, setup: str | None = None) -> None:
        self._create_tables = None if setup is None else _setup_function(setup)
        self._is_owner = begin_run()
        self._home = Path(os.environ[RUN_VARIABLE])
        self._setup = setup
        self._is_embedded = not os.environ.get(URL_VARIABLE)
        if self._is_embedded and not embedded.is_installed():
            message = (
                f"tests need a PostgreSQL server: run {embedded.INSTALL}, or set {URL_VARIABLE} to the URL of a role "
                "that may create databases"
            )
            raise QueueTestError(message)
        if self._is_embedded and not self._home.exists():
            _remove_stale(self._home.parent)
        self._url = embedded.acquire(self._home, _SETTINGS) if self._is_embedded else os.environ[URL_VARIABLE]
        self._creating = _Background(self._url)
        self._dropping = _Background(self._url)
        self._template = self._find_template()
        self._ready = self._clone()
        _open.append(self)

    def new(self) -> str:
        """Return the URL of a new database. The next one is created meanwhile."""
        self._creating.finish()
        url, self._ready = self._url_of(self._ready), self._clone()
        _clones.add(url)
        return url

    def drop(self, url: str) -> None:
        """Drop a database in the background. Sessions that are still connected to it are ended."""
        _clones.discard(url)
        name = unquote(urlsplit(url).path[1:])
        if self._dropping.server_version < _HAS_FORCE:
            self._dropping.end_sessions(name)
        self._dropping.send(_drop(name, self._dropping.server_version))

    def close(self) -> None:
        """Drop what is left, close the connections, and stop the embedded server if no other process uses it."""
        _open.remove(self)
        self._creating.finish()
        self.drop(self._url_of(self._ready))
        self._dropping.close()
        self._creating.close()
        if self._is_embedded and not _open:
            embedded.release(self._home)
        if self._is_owner:
            end_run()

    def _clone(self) -> str:
        name = f"{_name(self._home)}_{uuid.uuid4().hex[:8]}"
        fast = SQL(" strategy file_copy") if self._creating.server_version >= _HAS_STRATEGIES else SQL("")
        statement = _clone_of(name, self._template, fast)
        self._creating.send(statement)
        return name

    def _url_of(self, name: str) -> str:
        return urlsplit(self._url)._replace(path=f"/{quote(name, safe='')}").geturl()

    def _find_template(self) -> str:
        """Return the name of the template. The first process of a run that needs it creates it."""
        kind = hashlib.sha256((self._setup or "").encode()).hexdigest()[:8]
        name = f"{_name(self._home)}_template_{kind}"
        session = self._creating
        session.execute(admin("lock_template").encode(), (_TEMPLATE_LOCK,))
        try:
            if session.execute(admin("database_exists").encode(), (name,)).fetchone() == (False,):
                unfinished = f"{name}_unfinished"
                session.execute(_drop(unfinished, session.server_version))
                session.execute(_clone_of(unfinished, "template0", SQL("")))
                self._prepare(self._url_of(unfinished))
                session.end_sessions(unfinished)
                session.execute(_sql("rename_database", old=Identifier(unfinished), new=Identifier(name)))
        finally:
            session.execute(admin("unlock_template").encode(), (_TEMPLATE_LOCK,))
        return name

    def _prepare(self, url: str) -> None:
        with _connect(url) as session:
            prepare_schema(session, DEFAULT_SCHEMA)
        if self._create_tables is not None:
            self._create_tables(url)


_open: list[TestDatabases] = []
"""Those of this process that are not closed."""


def shared_databases() -> TestDatabases:
    """Return those that the plugin of pytest has made, or else some that are closed at the end of this process."""
    if not _open:
        atexit.register(TestDatabases().close)
    return _open[0]


def prepare_schema(session: psycopg.Connection[Any], schema: str) -> None:
    """Migrate a schema, and let its clock of tasks read the table `clock`.

    Raises:
        QueueTestError: the schema has the clock of production, and contains tasks or workers.
    """
    _refuse_production(session, schema)
    migrate(session, schema)
    mark = _clock_mark(schema)
    session.execute(bind(admin("test_clock").replace("-- RELEASE", mark), schema))


def is_prepared(session: psycopg.Connection[Any], schema: str) -> bool:
    """Whether `prepare_schema` has prepared a schema for this release."""
    return _has_clock(session, schema, _clock_mark(schema))


def _clock_mark(schema: str) -> str:
    return f"{_CLOCK_MARK} {max(migrations())} {functions_hash(schema)}"


def _has_clock(session: psycopg.Connection[Any], schema: str, mark: str) -> bool:
    cursor = psycopg.Cursor(session, row_factory=tuple_row)
    return cursor.execute(bind(admin("has_test_clock"), schema), (mark,)).fetchone() == (True,)


def _refuse_production(session: psycopg.Connection[Any], schema: str) -> None:
    if _has_clock(session, schema, _CLOCK_MARK):
        return
    try:
        in_use = session.execute(bind(admin("is_in_use"), schema)).fetchone() == (True,)
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        return
    if in_use:
        msg = (
            f"the database {session.info.dbname!r} is not one of tests: its schema {schema!r} has the clock of "
            "production, and contains tasks or workers. TestQueue would replace the clock, so pass the URL of an empty "
            "database, or none"
        )
        raise QueueTestError(msg)
