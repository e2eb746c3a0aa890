"""The plugin for pytest. pytest finds it by its entry point; it imports horsies when a test uses a fixture."""

from collections.abc import Generator, Iterator
from contextlib import ExitStack
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from horsies import testing

if TYPE_CHECKING:
    from horsies.app import Horsies
    from horsies.testing.databases import TestDatabases
    from horsies.testing.guard import Guard
    from horsies.testing.queue import TestQueue

_GUARD_MODES = ("auto", "on", "off")

_queues: pytest.StashKey["list[TestQueue]"] = pytest.StashKey()


class MakeQueue(Protocol):
    """The fixture ``horsies``: ``queue = horsies(app)``."""

    def __call__(self, app: "Horsies") -> "TestQueue":
        """Let the app use the database of the test until its end."""
        ...


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the plugin."""
    parser.addini(
        "horsies_setup", "module:function that creates the tables of the application in the template database"
    )
    parser.addini(
        "horsies_guard",
        "refuse tests that use the database of an app without a queue: auto (if a test uses a fixture of horsies), on, "
        "off",
        default="auto",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Name the run in the process that starts the workers of pytest-xdist, which share a server and a template."""
    config.addinivalue_line(
        "markers", "horsies_own_database: the test uses the database that its app names, so it needs no queue"
    )
    if config.getini("horsies_guard") not in _GUARD_MODES:
        msg = f"horsies_guard is auto, on or off, got {config.getini('horsies_guard')!r}"
        raise pytest.UsageError(msg)
    if (
        not hasattr(config, "workerinput")
        and config.pluginmanager.hasplugin("xdist")
        and config.getoption("numprocesses", None)
    ):
        config.stash[_is_owner] = _databases().begin_run()


_is_owner: pytest.StashKey[bool] = pytest.StashKey()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Guard against forgotten queues, also if the tests that use fixtures of horsies are deselected."""
    mode = config.getini("horsies_guard")
    if mode == "on" or (mode == "auto" and (config.getini("horsies_setup") or any(map(_uses_fixtures, items)))):
        guard: Guard = import_module("horsies.testing.guard").Guard()
        guard.install()
        config.add_cleanup(guard.remove)
        config.pluginmanager.register(guard)


def _uses_fixtures(item: pytest.Item) -> bool:
    """Whether a test uses a fixture of this plugin, directly or through other fixtures."""
    return "horsies_databases" in getattr(item, "fixturenames", ())


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove what the workers of pytest-xdist have created."""
    if config.stash.get(_is_owner, False):
        _databases().end_run()


def _databases() -> Any:
    """Return the module, which is slow to import."""
    return import_module("horsies.testing.databases")


@pytest.fixture(scope="session")
def horsies_databases(pytestconfig: pytest.Config) -> "Iterator[TestDatabases]":
    """Make the databases of the tests of this process."""
    databases = testing.TestDatabases(pytestconfig.getini("horsies_setup") or None)
    yield databases
    databases.close()


@pytest.fixture
def horsies_database(horsies_databases: "TestDatabases") -> Iterator[str]:
    """Yield the URL of a migrated database for this test."""
    url = horsies_databases.new()
    yield url
    horsies_databases.drop(url)


@pytest.fixture
def horsies(horsies_database: str, request: pytest.FixtureRequest) -> Iterator[MakeQueue]:
    """Yield a function that makes the `TestQueue` of an app, on the database of this test."""
    queues = request.node.stash.setdefault(_queues, [])
    with ExitStack() as stack:

        def make(app: "Horsies") -> "TestQueue":
            queue = stack.enter_context(testing.TestQueue(app, database_url=horsies_database))
            queues.append(queue)
            return queue

        yield make


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """Add the logs of worker processes to the report of a failed test, and remove them after the test."""
    report: pytest.TestReport = yield
    for queue in item.stash.get(_queues, list["TestQueue"]()):
        for file in queue.worker_logs:
            if report.failed and file.exists():
                report.sections.append((f"log of horsies worker ({report.when})", file.read_text(errors="replace")))
            if report.when == "teardown":
                file.unlink(missing_ok=True)
    return report
