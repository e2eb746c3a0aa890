"""Projects of users whose tests use the testing kit. Nothing may remain after a run."""

import subprocess
import sys
from pathlib import Path

import psutil

from horsies.testing import databases
from tests.support.waiting import wait_until
from tests.support.workers import clean_environment

STRICT = ("-q", "-p", "no:cacheprovider", "-W", "error")
"""Options of pytest for the project of a user."""


def run(folder: Path, *command: str, code: int = 0, **env: str) -> str:
    """Run a module of Python in the project, and return its output. Afterwards nothing of it may remain."""
    environment = clean_environment(PYTHONDONTWRITEBYTECODE="1", **env)
    started = subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    output, _ = started.communicate(timeout=100)
    assert started.returncode == code, output
    wait_until(lambda: not remains(started.pid), 20, lambda: f"the end of {remains(started.pid)}")
    return output


def remains(pid: int) -> list[str]:
    """Return the data folders and the processes that a run has left behind."""
    left = [str(home) for home in databases._data_folder().glob(f"{databases._PREFIX}{pid}-*")]
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or [])
        if f"{databases._PREFIX}{pid}-" in line:
            left.append(line)
    return left
