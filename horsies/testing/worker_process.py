"""A real `horsies worker` during a test."""

import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Never

import psutil

from horsies.config.postgres import DEV_URL_VARIABLE
from horsies.testing.errors import QueueTestError, WorkerFailedError

if TYPE_CHECKING:
    from horsies.app import Horsies

_MARK = "HORSIES_TESTING_WORKER"
_COMMAND = "from horsies.cli.main import main; main()"
_READY = "worker.ready"
_READY_WITHIN_S = 60.0
_STOP_WITHIN_S = 15.0
_POLL_S = 0.02


class RealWorker:
    """A worker process of a test.

    Args:
        app: the app, which must be a global variable of a module.
        database_url: the database.
        options: options of the command.

    Attributes:
        log_file: the file with its log.
    """

    def __init__(self, app: "Horsies", database_url: str, options: Sequence[str]) -> None:
        self._locator = locator(app)
        self._mark = uuid.uuid4().hex
        self._options = options
        self._url = database_url
        handle, name = tempfile.mkstemp(prefix="horsies-worker-", suffix=".log")
        os.close(handle)
        self.log_file = Path(name)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The id of the process of the supervisor."""
        return self._running().pid

    def log(self) -> str:
        """Return the log so far."""
        return self.log_file.read_text(errors="replace")

    @contextmanager
    def running(self) -> Generator[None]:
        """Start the worker, wait until it claims tasks, and stop it at the end of the block.

        Raises:
            WorkerFailedError: it did not start, or did not stop in time.
        """
        self._process = self._start()
        try:
            self._wait_until_ready()
            yield
            self._stop()
        finally:
            self._kill_all()

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            msg = "the worker was not started"
            raise QueueTestError(msg)
        return self._process

    def _start(self) -> "subprocess.Popen[bytes]":
        environment = os.environ | {
            DEV_URL_VARIABLE: self._url,
            _MARK: self._mark,
            "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),  # noqa: PTH109
        }
        command = [sys.executable, "-c", _COMMAND, "worker", self._locator, *self._options]
        with self.log_file.open("wb") as log:
            return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _READY_WITHIN_S
        while _READY not in self.log():
            code = self._running().poll()
            if code is not None:
                self._fail(f"ended with exit code {code} before it was ready")
            if time.monotonic() > deadline:
                self._fail(f"was not ready within {_READY_WITHIN_S:.0f} s")
            time.sleep(_POLL_S)

    def _stop(self) -> None:
        process = self._running()
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._fail(f"did not stop within {_STOP_WITHIN_S:.0f} s")

    def _fail(self, what: str) -> Never:
        msg = f"horsies worker {self._locator} {what}; its log:\n{self.log()}"
        raise WorkerFailedError(msg)

    def _kill_all(self) -> None:
        """Kill what remains of the worker, including processes that its supervisor has lost."""
        for each in psutil.process_iter():
            with suppress(psutil.Error):
                if each.status() != psutil.STATUS_ZOMBIE and each.environ().get(_MARK) == self._mark:
                    each.kill()
        self._running().wait()


def locator(app: "Horsies") -> str:
    """Return the locator by which another process finds an app: ``shop.tasks:app``, or ``/path/tasks.py:app``.

    Raises:
        QueueTestError: no module has the app as a global variable.
    """
    module = sys.modules.get(app.name)
    attribute = next((name for name, value in vars(module).items() if value is app), None) if module else None
    if module is None or attribute is None:
        msg = f"a worker process cannot import {app!r}: assign it to a name at the top level of a module"
        raise QueueTestError(msg)
    file = getattr(module, "__file__", None)
    with suppress(ImportError, ValueError):
        spec = importlib.util.find_spec(app.name)
        if spec is not None and (file is None or spec.origin == file) and app.name != "__main__":
            return f"{app.name}:{attribute}"
    return f"{file}:{attribute}"
