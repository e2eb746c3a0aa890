"""Programs of Debian's packages, fetched with apt-get into ``.tools``.

Nothing is installed, so this needs no privileges.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

ROOT = Path(__file__).parents[2]
_APT = """
Dir::State "{folder}/state";
Dir::State::status "/var/lib/dpkg/status";
Dir::Cache "{folder}/cache";
APT::Sandbox::User "";
Acquire::Retries "1";
Acquire::http::Timeout "15";
"""


def installed_or_fetched(program: str, libraries: str) -> tuple[Path, dict[str, str] | None]:
    """Return a program whose package has the same name, and the environment in which it finds its libraries.

    The environment is None if the program is installed. The test is skipped if there is no program and none can be
    fetched.

    Args:
        program: The name of the program and of its package.
        libraries: A regular expression for the beginning of the names of the packages of libraries that it needs.
    """
    if installed := shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"):
        return Path(installed), None
    cache = ROOT / ".tools" / program
    if not cache.exists():
        cache.parent.mkdir(exist_ok=True)
        with TemporaryDirectory(dir=cache.parent) as name:
            problem = _fetch(Path(name), program, re.compile(rf"Depends: ({libraries}\S*)"))
            if problem is not None:
                pytest.skip(f"{program} is not installed, and Debian's package cannot be fetched: {problem}")
            if not cache.exists():  # another process may have been faster
                Path(name, "root").rename(cache)
    [folder] = (cache / "usr" / "lib").glob("*-linux-gnu")
    [path] = [*(cache / "usr" / "bin").glob(program), *(cache / "usr" / "sbin").glob(program)]
    return path, {**os.environ, "LD_LIBRARY_PATH": str(folder)}


def _fetch(folder: Path, package: str, needed: re.Pattern[str]) -> str | None:
    """Unpack the package and its libraries into the folder ``root``; returns the reason if that is not possible."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        return "this system has no apt-get and dpkg-deb"
    for below in ("state/lists/partial", "cache/archives/partial", "root"):
        (folder / below).mkdir(parents=True)
    (folder / "apt.conf").write_text(_APT.format(folder=folder))
    try:
        _run(folder, "apt-get", "-qq", "update")
        libraries = needed.findall(_run(folder, "apt-cache", "depends", package))
        _run(folder, "apt-get", "-qq", "download", package, *libraries)
        for archive in folder.glob("*.deb"):
            _run(folder, "dpkg-deb", "--extract", str(archive), str(folder / "root"))
    except subprocess.CalledProcessError as error:
        return f"{' '.join(error.cmd)} failed: {error.stderr.strip()[-300:]}"
    except subprocess.TimeoutExpired as error:
        return f"{' '.join(error.cmd)} did not end"
    return None


def _run(folder: Path, *command: str) -> str:
    environment = {**os.environ, "APT_CONFIG": str(folder / "apt.conf"), "LC_ALL": "C"}
    return subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True,
        timeout=120,
    ).stdout  # fmt: skip
