"""Fixtures for all tests: the server, databases, a proxy and workers."""

import compileall
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import hypothesis
import pytest

from tests.support import server as servers
from tests.support.databases import migrated_template, new_database
from tests.support.pooler import pooled_variables, pooler_of_run
from tests.support.proxy import Proxy
from tests.support.server import Server, database_name, running_server, with_database
from tests.support.workers import WorkerProcess

hypothesis.settings.register_profile("no deadline", deadline=None)  # the machines of CI are slow and shared
hypothesis.settings.load_profile("no deadline")


PACKAGE = Path(__file__).parents[1] / "horsies"


def pytest_configure(config: pytest.Config) -> None:
    """Name the run, and compile the package, in the process that starts the xdist workers.

    Python compiles a module when it is first imported, but not if PYTHONDONTWRITEBYTECODE is set. Then each of the
    hundreds of workers and commands that tests start would compile the whole package again.
    """
    if not hasattr(config, "workerinput"):
        servers.begin_run()
        if sys.dont_write_bytecode:
            compileall.compile_dir(PACKAGE, quiet=2)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove everything that the run created."""
    if not hasattr(config, "workerinput"):
        servers.end_run()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """Yield the server of this run."""
    with running_server() as running, pooler_of_run(running):
        yield running


@pytest.fixture(scope="session")
def template(server: Server) -> str:
    """Return a migrated database from which others are cloned."""
    return migrated_template(server)


@pytest.fixture
def database_url(server: Server, template: str) -> Iterator[str]:
    """Yield a new database with the schema of horsies."""
    with new_database(server, template) as url:
        yield url


@pytest.fixture
def empty_database_url(server: Server) -> Iterator[str]:
    """Yield a new empty database."""
    with new_database(server) as url:
        yield url


@pytest.fixture
def tcp_database_url(server: Server, database_url: str) -> str:
    """Return the URL of the same database over TCP, with a password."""
    return with_database(server.tcp_url, database_name(database_url))


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    """Yield a proxy in front of the server; ``proxy.url(tcp_database_url)`` connects through it."""
    running = Proxy(server.tcp_url)
    yield running
    running.close()


class StartWorker(Protocol):
    """Starts ``horsies worker APP ARGS…`` in ``tmp_path``; see the fixture ``start_worker``."""

    def __call__(self, app: str, *args: str, env: Mapping[str, str] | None = None) -> WorkerProcess: ...


@pytest.fixture
def start_worker(database_url: str, tmp_path: Path) -> Iterator[StartWorker]:
    """Yield a function that starts workers. They are killed at the end, and none of their processes may remain."""
    with ExitStack() as stack:

        def start(app: str, *args: str, env: Mapping[str, str] | None = None) -> WorkerProcess:
            full = {**pooled_variables(database_url), **(env or {})}
            worker = WorkerProcess(["worker", app, *args], tmp_path, full)
            stack.callback(worker.assert_gone)
            stack.callback(worker.kill_all)
            return worker

        yield start
