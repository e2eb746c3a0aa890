"""The PostgreSQL server of a test run: an embedded one shared by all xdist workers, or an external one.

HORSIES_TEST_DATABASE_URL names another server, of any version, by a URL of a superuser over TCP. It has to ask for
passwords there, as PostgreSQL does by default.
"""

import os
import shutil
import socket
import tempfile
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import psutil
import psycopg
from psycopg.sql import SQL, Identifier

from horsies.embedded import server as embedded
from tests.support.waiting import wait_until

PASSWORD = "correct-horse"
URL_VARIABLE = "HORSIES_TEST_DATABASE_URL"
FAST = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_wal_size": "256MB",  # the data may be in memory
    "max_connections": "500",
    "log_min_messages": "warning",
}
_MEMORY = Path("/dev/shm")
_MEMORY_NEEDED = 4 << 30
_RUN_VARIABLE = "HORSIES_TEST_RUN"
_HOME_VARIABLE = "HORSIES_TEST_DATA"
_LOCK_KEY = 4711
_HAS_FORCE = 13_00_00


@dataclass(frozen=True, slots=True)
class Server:
    """A running server.

    ``url`` leads to its database postgres. ``tcp_url`` leads there over TCP on 127.0.0.1, with the required password.
    """

    url: str
    tcp_url: str

    def database_url(self, name: str) -> str:
        """Return the URL of one of its databases."""
        return with_database(self.url, name)

    def connect(self) -> psycopg.Connection:
        """Connect as the superuser, to create and drop databases."""
        return psycopg.connect(self.url, autocommit=True)


def with_database(url: str, name: str) -> str:
    """Return the URL of another database of the same server."""
    return urlsplit(url)._replace(path=f"/{quote(name, safe='')}").geturl()


def database_name(url: str) -> str:
    """Return the name of the database of a URL."""
    return unquote(urlsplit(url).path[1:])


def begin_run() -> None:
    """Name this run of pytest, for itself and for the workers that it starts."""
    os.environ.setdefault(_RUN_VARIABLE, f"hrs{uuid.uuid4().hex[:10]}")
    os.environ.setdefault(_HOME_VARIABLE, str(data_folder()))  # once, because the free memory changes


def run_name() -> str:
    """Return a prefix for the names of databases that no other run uses."""
    return os.environ[_RUN_VARIABLE]


def end_run() -> None:
    """Drop the databases of this run on an external server, or remove the embedded server.

    Called after all workers have ended.
    """
    if url := os.environ.get(URL_VARIABLE):
        with psycopg.connect(url, autocommit=True) as session:
            left = session.execute("select datname from pg_database where starts_with(datname, %s)", (run_name(),))
            for (name,) in left.fetchall():
                drop_database(session, name)
            session.execute(f"drop role if exists {_user()}".encode())
            _drop_roles(session)
    elif (home := _home()).exists():
        wait_until(lambda: not embedded.is_running(home), describe="the test server to stop")
        shutil.rmtree(home)
    del os.environ[_RUN_VARIABLE], os.environ[_HOME_VARIABLE]


def _drop_roles(session: psycopg.Connection) -> None:
    """Drop the roles of `tests.support.roles`."""
    left = session.execute("select rolname from pg_roles where starts_with(rolname, %s)", (run_name(),))
    for (name,) in left.fetchall():
        session.execute(SQL("drop role {}").format(Identifier(name)))


def drop_database(session: psycopg.Connection, name: str) -> None:
    """Drop a database, and end the sessions that are still connected to it.

    ``force`` first keeps new sessions out, for example one that a pooler is about to open.
    """
    if session.info.server_version >= _HAS_FORCE:
        session.execute(SQL("drop database if exists {} with (force)").format(Identifier(name)))
        return
    session.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (name,))
    session.execute(SQL("drop database if exists {}").format(Identifier(name)))


@contextmanager
def running_server() -> Generator[Server]:
    """Yield the server of this run. The first process that needs it starts it."""
    if url := os.environ.get(URL_VARIABLE):
        yield _server(url)
    else:
        with embedded_server(_home(), FAST) as server:
            yield server


@contextmanager
def embedded_server(home: Path, settings: dict[str, str]) -> Generator[Server]:
    """Run a server in a folder, which also listens on TCP. Processes that use the same folder share it."""
    url = embedded.acquire(home, {"listen_addresses": "127.0.0.1", "port": str(free_port()), **settings})
    try:
        yield _server(url)
    finally:
        embedded.release(home)


@contextmanager
def own_server(home: Path, settings: dict[str, str]) -> Generator[Server]:
    """Run a separate server for one test, and wait at the end until nothing writes into its folder any more."""
    with embedded_server(home, {"fsync": "off", **settings}) as server:
        yield server
    wait_until(lambda: not embedded.is_running(home), describe="the server to stop")


def data_folder() -> Path:
    """Return the folder for the data of test servers: a file system in memory, if the machine has plenty of that.

    Every test has a database of its own. In memory, its creation takes a tenth of the processor time.
    """
    if _MEMORY.is_dir():
        free = min(shutil.disk_usage(_MEMORY).free, psutil.virtual_memory().available)
        if free > _MEMORY_NEEDED:
            return _MEMORY
    return Path(tempfile.gettempdir())


def _home() -> Path:
    return Path(os.environ[_HOME_VARIABLE], run_name())


def free_port() -> int:
    """Return a free port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _user() -> str:
    return f"{run_name()}_tester"


def _server(url: str) -> Server:
    with psycopg.connect(url) as session:
        session.execute("select pg_advisory_xact_lock(%s)", (_LOCK_KEY,))
        if session.execute("select from pg_roles where rolname = %s", (_user(),)).fetchone() is None:
            session.execute(f"create role {_user()} superuser login password '{PASSWORD}'".encode())
        host = urlsplit(url).hostname or "127.0.0.1"
        return Server(url, f"postgresql://{_user()}:{PASSWORD}@{host}:{session.info.port}/postgres")
