"""A Redis server for the comparison with other libraries: on its own port, and as durable as it can be.

`redis-server` is taken from the system. On Debian without it, the packages are unpacked below `.tools`, which installs
nothing on the system and needs no rights.
"""

import os
import platform
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from setting import HERE, wait_for

FOLDER = HERE.parent / ".tools" / "redis"
PACKAGES = ("redis-server", "redis-tools", "libjemalloc2", "liblua5.1-0", "liblzf1", "lua-cjson", "lua-bitop")
DURABLE = ("--appendonly", "yes", "--appendfsync", "always", "--save", "")
"""Each write is on the disk before it is answered, as a commit of PostgreSQL is by default."""


class NoRedisError(Exception):
    """Redis is not installed and cannot be fetched."""


def executable() -> tuple[str, dict[str, str]]:
    """Return the path of `redis-server`, and the environment that it needs."""
    installed = shutil.which("redis-server")
    if installed:
        return installed, {}
    program = FOLDER / "usr" / "bin" / "redis-server"
    if not program.exists():
        fetch()
    libraries = FOLDER / "usr" / "lib" / f"{platform.machine()}-linux-gnu"
    return str(program), {"LD_LIBRARY_PATH": str(libraries)}


def fetch() -> None:
    """Download the packages of Debian, and unpack them."""
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        msg = "Redis is not installed: install redis-server"
        raise NoRedisError(msg)
    with tempfile.TemporaryDirectory() as downloads:
        done = subprocess.run(
            ["apt-get", "download", *PACKAGES], cwd=downloads, capture_output=True, text=True, check=False
        )
        if done.returncode:
            msg = f"the packages of Redis cannot be downloaded: {done.stderr.strip()}"
            raise NoRedisError(msg)
        for package in Path(downloads).glob("*.deb"):
            subprocess.run(["dpkg", "-x", package, FOLDER], check=True)


def version() -> str:
    """Return the version, as `Redis 7.0.15`."""
    program, needs = executable()
    printed = subprocess.run(
        [program, "--version"], env=os.environ | needs, capture_output=True, text=True, check=True
    ).stdout
    return "Redis " + next(word[2:] for word in printed.split() if word.startswith("v="))


@contextmanager
def redis_server() -> Generator[str]:
    """Run a server on a free port, with its data in a temporary folder; yield its URL without a database."""
    program, needs = executable()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="horsies-bench-redis-") as data:
        command = [program, "--bind", "127.0.0.1", "--port", str(port), "--dir", data, *DURABLE]
        process = subprocess.Popen(command, env=os.environ | needs, stdout=subprocess.DEVNULL)
        try:
            wait_for(lambda: answers(port) or process.poll() is not None)
            if process.poll() is not None:
                msg = f"redis-server ended with exit code {process.returncode}"
                raise NoRedisError(msg)
            yield f"redis://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


def answers(port: int) -> bool:
    """Return whether a server accepts connections."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
