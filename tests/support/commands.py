"""The command line, run to its end."""

import os
import subprocess
from pathlib import Path

from tests.support.workers import HORSIES


def clean_environment(**more: str) -> dict[str, str]:
    """The environment of this process without what would change what a command does, and with something more."""
    kept = {name: value for name, value in os.environ.items() if not name.endswith(("DATABASE_URL", "_COLOR"))}
    return {name: value for name, value in kept.items() if name != "PYTHONPATH"} | more


def horsies(folder: Path, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run ``horsies ARGS…`` in a folder."""
    return subprocess.run(
        [HORSIES, *args],
        cwd=folder,
        env=clean_environment(**env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
