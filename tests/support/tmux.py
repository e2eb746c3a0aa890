"""A command in a real terminal: tmux interprets its output, so that tests see what a person would see.

The installed program is used, if there is one. Otherwise Debian's package is fetched into ``.tools``; where that is not
possible, the tests of this module are skipped.
"""

import re
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from tests.support.debian import installed_or_fetched
from tests.support.waiting import wait_until
from tests.support.workers import clean_environment

_SETTINGS = "set -g default-terminal xterm-256color\nset -g status off\nset -g escape-time 0\n"
_ENDED = r"\[ended with (\d+)\]"
_LIBRARIES = "lib(?:event|utempter)"
COLOR = re.compile(r"\x1b\[(?:[0-9;:]*;)?(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])[;:m]")
"""The begin of a colour of the text or of its background."""


class Tmux:
    """A terminal of a given size in which a command runs.

    Args:
        command: The command, as its words.
        folder: Its working directory.
        socket: The path of the socket of the terminal, which must be short.
        env: Additional variables of its environment.
        columns: The width of the terminal.
    """

    def __init__(
        self,
        command: Sequence[object],
        folder: Path,
        socket: Path,
        env: Mapping[str, str],
        *,
        columns: int = 120,
    ) -> None:
        program, environment = installed_or_fetched("tmux", _LIBRARIES)
        settings = folder / "tmux.conf"
        settings.write_text(_SETTINGS)
        self._words = [str(program), "-u", "-S", str(socket), "-f", str(settings)]
        libraries = {} if environment is None else {"LD_LIBRARY_PATH": environment["LD_LIBRARY_PATH"]}
        sizes = ("COLUMNS", "LINES")  # they would be taken for the size of the terminal
        inherited = {name: value for name, value in clean_environment(**libraries).items() if name not in sizes}
        self._env = inherited | {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8"} | dict(env)
        self._folder = folder
        self._is_closed = False
        line = f"{shlex.join(map(str, command))}; printf '\\n[ended with %s]\\n' $?; exec cat"
        self._tmux("new-session", "-d", "-x", str(columns), "-y", "40", line)

    def _tmux(self, *words: str) -> str:
        return subprocess.run(
            [*self._words, *words],
            cwd=self._folder,
            env=self._env,
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        ).stdout

    def screen(self) -> str:
        """Return the text on the screen. Lines that the terminal has wrapped are joined."""
        return "\n".join(line.rstrip() for line in self._tmux("capture-pane", "-p", "-J").split("\n"))

    def styled(self) -> str:
        """Return the text on the screen, with the escape sequences of its styles."""
        return self._tmux("capture-pane", "-p", "-e")

    def wait_for(self, pattern: str, timeout: float = 30) -> str:
        """Wait until the screen matches a regular expression, and return its text."""
        wait_until(
            lambda: re.search(pattern, self.screen()), timeout, lambda: f"{pattern!r} on the screen:\n{self.screen()}"
        )
        return self.screen()

    def type(self, *keys: str) -> None:
        """Press keys, by the names that tmux gives them."""
        self._tmux("send-keys", *keys)

    def resize(self, columns: int, rows: int) -> None:
        """Change the size of the terminal."""
        self._tmux("resize-window", "-x", str(columns), "-y", str(rows))

    def _state(self, name: str) -> str:
        return self._tmux("display-message", "-p", f"#{{{name}}}").strip()

    @property
    def pid(self) -> int:
        """The id of the process of the command."""
        [process] = psutil.Process(int(self._state("pane_pid"))).children()
        return process.pid

    def is_raw(self) -> bool:
        """Whether the command uses the alternate screen."""
        return self._state("alternate_on") == "1"

    def exit_code(self, timeout: float = 30) -> int:
        """Wait for the end of the command, and return its exit code."""
        found = re.search(_ENDED, self.wait_for(_ENDED, timeout))
        assert found is not None
        return int(found[1])

    def close(self) -> None:
        """End the terminal, and with it the command, unless that was done before."""
        if not self._is_closed:
            self._tmux("kill-server")
        self._is_closed = True
