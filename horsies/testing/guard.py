"""The guard against a forgotten queue: a test may not use the database that the configuration of an app names.

The plugin of pytest registers it only in sessions in which some test uses the testing kit.
"""

import inspect
import os
import sys
import threading
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr

from horsies.config.postgres import DEV_URL_VARIABLE
from horsies.db.connect import Database
from horsies.testing.databases import has_clone
from horsies.testing.errors import ForgottenQueueError
from horsies.testing.redirection import is_of_queue

if TYPE_CHECKING:
    from types import FrameType

MARKER = "horsies_own_database"
_HEADING = "database that the testing kit did not make"
_NO_CALLERS = ("horsies", "contextlib", "asyncio", "threading", "concurrent")


class Guard:
    """Refuses to use the databases of apps while a test runs, unless a queue or a fixture has made them.

    Code that handles exceptions may hide the refusal. Therefore the first one is kept as well, and the phase of the
    test in which it happened fails with its message.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._guards_test = False
        self._refused: ForgottenQueueError | None = None
        self._check_before = Database.use_check

    def install(self) -> None:
        """Let databases ask this guard before each use."""
        self._check_before = Database.use_check
        Database.use_check = self._check

    def remove(self) -> None:
        """Undo `install`."""
        Database.use_check = self._check_before

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Guard a test and its fixtures."""
        if item.get_closest_marker(MARKER) is not None:
            return (yield)
        self._guards_test, self._refused = True, None
        try:
            return (yield)
        finally:
            self._guards_test = False

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self) -> Generator[None, Any, Any]:
        """Fail if a fixture has hidden a refusal."""
        return (yield from self._fail_if_refused())

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self) -> Generator[None, Any, Any]:
        """Fail if the test, or code that it calls, has hidden a refusal."""
        return (yield from self._fail_if_refused())

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self) -> Generator[None, Any, Any]:
        """Fail if a fixture has hidden a refusal."""
        return (yield from self._fail_if_refused())

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Generator[None, Any, pytest.TestReport]:
        """Show the refusal in the report of a test that fails because of its consequences."""
        report: pytest.TestReport = yield
        refused = self._take_refused()
        if refused is not None and report.failed and str(refused).partition("\n")[0] not in report.longreprtext:
            report.sections.append((_HEADING, str(refused)))
        return report

    def _fail_if_refused(self) -> Generator[None, Any, Any]:
        try:
            returned = yield
        except ForgottenQueueError as error:
            _end_traceback_at_caller(error)
            raise
        if (refused := self._take_refused()) is not None:
            pytest.fail(str(refused), pytrace=False)
        return returned

    def _take_refused(self) -> ForgottenQueueError | None:
        with self._lock:
            refused, self._refused = self._refused, None
        return refused

    def _check(self, database: Database) -> None:
        """Refuse a database, before a producer uses it.

        Raises:
            ForgottenQueueError: A test runs, and neither a queue nor a fixture has made the database.
        """
        if not self._guards_test or is_of_queue(database) or _is_clone(database):
            return
        error = ForgottenQueueError(_message(database))
        with self._lock:
            self._refused = self._refused or error
        raise error


def _is_clone(database: Database) -> bool:
    """Whether the app was made with the URL of `horsies_database`, or that URL overrides its own."""
    url = database.config.database_url
    given = os.environ.get(DEV_URL_VARIABLE) or (url.get_secret_value() if isinstance(url, SecretStr) else "")
    return has_clone(urlsplit(given).path)


def _message(database: Database) -> str:
    return (
        f"this test has made no queue of the app: {_caller()} would have used {database.config.masked_url()}, the "
        "database that the configuration of the app names. The call was refused.\n"
        "Let the test use the fixture horsies, and call horsies(app) before the first call of the app"
        f"{_in_django()}. If the test "
        f'uses that database on purpose, mark it with @pytest.mark.{MARKER}. The setting horsies_guard = "off" of '
        "pytest switches this check off."
    )


def _in_django() -> str:
    return "; in Django, make TestQueue(app, connection=connection)" if "django.test" in sys.modules else ""


def _caller() -> str:
    """Return the place of the code that called horsies, and its thread if that is not the main thread."""
    frame = cast("FrameType", inspect.currentframe())
    while frame.f_back is not None and _module(frame.f_globals) in _NO_CALLERS:
        frame = frame.f_back
    thread = threading.current_thread()
    where = "" if thread is threading.main_thread() else f" in the thread {thread.name!r}"
    return f"{frame.f_code.co_qualname} at {frame.f_code.co_filename}:{frame.f_lineno}{where}"


def _end_traceback_at_caller(error: BaseException) -> None:
    """Remove the frames of horsies from the end of a traceback, so that it ends in the code of the user."""
    last, each = None, error.__traceback__
    while each is not None:
        if _module(each.tb_frame.f_globals) not in _NO_CALLERS:
            last = each
        each = each.tb_next
    if last is not None:
        last.tb_next = None


def _module(names: dict[str, Any]) -> str:
    return str(names.get("__name__", "")).partition(".")[0]
