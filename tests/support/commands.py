"""The command line, run to its end."""

import subprocess
from pathlib import Path

from tests.support.workers import HORSIES, clean_environment


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
