"""Real workers: `horsies worker …` processes, watched and ended by process id."""

import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from tests.support.roles import with_role
from tests.support.waiting import wait_until

_MARK = "HORSIES_TEST_WORKER"
HORSIES = Path(sys.executable).with_name("horsies")


def clean_environment(**more: str) -> dict[str, str]:
    """Return the environment of this process without variables that affect commands, and with additional ones."""
    unwanted = ("PYTHONPATH", "DATABASE_URL", "_COLOR", "HORSIES_TESTING_RUN")
    return {name: value for name, value in os.environ.items() if not name.endswith(unwanted)} | more


class WorkerProcess:
    """A command of horsies that runs until it is stopped.

    All of its processes inherit a mark, by which they are found.
    """

    def __init__(self, args: Sequence[str], folder: Path, env: Mapping[str, str], executable: Path = HORSIES) -> None:
        """Start ``horsies ARGS…`` in a folder, with its output in a file there."""
        self._mark = uuid.uuid4().hex
        self.log_file = folder / f"worker-{self._mark[:6]}.log"
        environment = clean_environment(**with_role(args, env), **{_MARK: self._mark})
        with self.log_file.open("wb") as log:
            self._process = subprocess.Popen(
                [executable, *args], cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.pid = self._process.pid

    def log(self) -> str:
        """Return the output of the command so far."""
        return self.log_file.read_text(errors="replace")

    def wait_for_log(self, pattern: str, timeout: float = 20) -> re.Match[str]:
        """Wait until the output matches a regular expression. Fail immediately if the command ended without it."""

        def look() -> re.Match[str] | bool | None:
            has_ended = self._process.poll() is not None  # read before the log: an ended process writes no more
            return re.search(pattern, self.log()) or has_ended

        found = wait_until(look, timeout, lambda: f"{pattern!r} in the log:\n{self.log()}")
        assert isinstance(found, re.Match), f"ended with {self._process.returncode}, log:\n{self.log()}"
        return found

    def wait_until_ready(self, timeout: float = 20) -> None:
        """Wait until the worker claims tasks."""
        self.wait_for_log(r"\bworker\.ready\b", timeout)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the supervisor alone."""
        self._process.send_signal(number)

    def wait(self, timeout: float = 20) -> int:
        """Wait for the end of the command, and return its exit code, which is negative for a signal."""
        wait_until(lambda: self._process.poll() is not None, timeout, lambda: f"its end, log:\n{self.log()}")
        return self._process.returncode

    def stop(self, timeout: float = 20) -> int:
        """Send SIGTERM, wait for the end, and return the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(timeout)

    def processes(self) -> list[psutil.Process]:
        """Return all living processes of this command, including the command itself and processes it left behind."""
        return [each for each in psutil.process_iter() if _mark_of(each) == self._mark]

    def descendants(self) -> list[psutil.Process]:
        """Return the same without the command itself: the fork server and the children."""
        return [each for each in self.processes() if each.pid != self.pid]

    def fork_server(self) -> psutil.Process:
        """Return the fork server."""
        [fork_server] = psutil.Process(self.pid).children()
        return fork_server

    def children(self) -> list[psutil.Process]:
        """Return the living children."""
        return [child for child in self.fork_server().children() if lives(child.pid)]

    def assert_gone(self, timeout: float = 10) -> None:
        """Fail if any of its processes remains."""
        wait_until(lambda: not self.processes(), timeout, lambda: f"the end of {self.processes()}, log:\n{self.log()}")

    def kill_all(self) -> None:
        """Kill all processes of this command."""
        for each in self.processes():
            with suppress(psutil.NoSuchProcess):
                each.kill()
        self._process.wait()


def lives(pid: int) -> bool:
    """Whether a process is running. A zombie does not count."""
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def _mark_of(process: psutil.Process) -> str | None:
    with suppress(psutil.Error):
        if process.status() != psutil.STATUS_ZOMBIE:
            return process.environ().get(_MARK)
    return None
