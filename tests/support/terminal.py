"""A command in a separate terminal, with its visible output and Ctrl-C."""

import os
import pty
import re
import subprocess
import threading
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from tests.support.commands import with_app
from tests.support.roles import with_role
from tests.support.waiting import wait_until
from tests.support.workers import HORSIES, clean_environment

_MARK = "HORSIES_TEST_TERMINAL"
_STYLE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class Terminal:
    """``horsies ARGS…`` in a pseudo-terminal. All of its processes inherit a mark, by which
    they are found."""

    def __init__(self, args: Sequence[str], folder: Path, env: Mapping[str, str] | None = None) -> None:
        """Start the command."""
        self._mark = uuid.uuid4().hex
        self._seen = bytearray()
        self._master, slave = pty.openpty()
        environment = clean_environment(
            TERM="xterm", COLUMNS="200", **with_role(args, env or {}), **{_MARK: self._mark}
        )
        command = ["setsid", "--ctty", str(HORSIES), *with_app(folder, args)]
        self._process = subprocess.Popen(command, cwd=folder, env=environment, stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        with suppress(OSError):  # the other side is closed
            while data := os.read(self._master, 1 << 16):
                self._seen += data

    def seen(self) -> str:
        """Return the text on the screen without colours."""
        return _STYLE.sub("", self._seen.decode(errors="replace")).replace("\r\n", "\n")

    def wait_for(self, pattern: str, timeout: float = 30) -> re.Match[str]:
        """Wait until the screen shows a match of a regular expression."""
        found = wait_until(lambda: re.search(pattern, self.seen()), timeout, lambda: f"{pattern!r} in:\n{self.seen()}")
        assert found is not None
        return found

    def type(self, text: str) -> None:
        """Type a text; ``\\x03`` is Ctrl-C."""
        os.write(self._master, text.encode())

    def wait(self, timeout: float = 30) -> int:
        """Wait for the end of the command, and return its exit code."""
        wait_until(lambda: self._process.poll() is not None, timeout, lambda: f"its end:\n{self.seen()}")
        self._reader.join(timeout)
        return self._process.returncode

    def processes(self) -> list[psutil.Process]:
        """Return all living processes that the command started."""
        found: list[psutil.Process] = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get(_MARK) == self._mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def assert_gone(self, timeout: float = 20) -> None:
        """Assert that none of its processes remains."""
        wait_until(lambda: not self.processes(), timeout, lambda: f"the end of {self.processes()}")

    def close(self) -> None:
        """Kill its remaining processes."""
        for process in self.processes():
            with suppress(psutil.Error):
                process.kill()
        self._process.wait()
        self._reader.join(10)
        os.close(self._master)
