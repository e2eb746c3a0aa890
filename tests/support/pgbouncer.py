"""A real PgBouncer in front of a server.

The installed program is used, if there is one. Otherwise Debian's package and the libraries that it needs are fetched
with apt-get into ``.tools/pgbouncer``; nothing is installed, so this needs no privileges. Where that is not possible,
the tests of this module are skipped.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal
from urllib.parse import unquote, urlsplit

import psycopg
import pytest

from horsies.embedded import server as embedded
from tests.support.server import free_port
from tests.support.waiting import wait_until

type PoolMode = Literal["session", "transaction"]

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".tools" / "pgbouncer"
_PREPARES = (1, 21)
_LIBRARIES = re.compile(r"Depends: (lib(?:c-ares|cares|event)\S*)")
_APT = """
Dir::State "{folder}/state";
Dir::State::status "/var/lib/dpkg/status";
Dir::Cache "{folder}/cache";
APT::Sandbox::User "";
Acquire::Retries "1";
Acquire::http::Timeout "15";
"""
_SETTINGS = """
[databases]
* = host={host} port={port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own_port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {folder}/users
pool_mode = {mode}
default_pool_size = {pool_size}
max_client_conn = 500
server_login_retry = 1
ignore_startup_parameters = extra_float_digits
"""


class PgBouncer:
    """A running PgBouncer.

    Attributes:
        mode: how long a client keeps a connection to the server.
        port: its port on 127.0.0.1.
    """

    def __init__(self, tcp_url: str, mode: PoolMode, folder: Path, pool_size: int, more_settings: str) -> None:
        """Start it in front of the server of a URL, for the user of that URL."""
        target = urlsplit(tcp_url)
        self.mode = mode
        self.port = free_port()
        self._log = folder / "log"
        settings = _SETTINGS.format(
            host=target.hostname, port=target.port, own_port=self.port, folder=folder, mode=mode, pool_size=pool_size
        )
        (folder / "pgbouncer.ini").write_text(settings + more_settings)
        (folder / "users").write_text(f'"{unquote(target.username or "")}" "{unquote(target.password or "")}"\n')
        program, libraries = installed_or_fetched()
        command = [*embedded._as_server_user(), str(program), str(folder / "pgbouncer.ini")]
        environment = {**os.environ, "LD_LIBRARY_PATH": str(libraries)} if libraries else None
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, cwd="/"
            )
        wait_until(lambda: self._answers(tcp_url), 20, self._log.read_text)

    def _answers(self, tcp_url: str) -> bool:
        assert self._process.poll() is None, self._log.read_text()
        try:
            psycopg.connect(self.url(tcp_url), connect_timeout=3).close()
        except psycopg.OperationalError:
            return False
        return True

    def url(self, database_url: str) -> str:
        """Return a URL that leads to the same database through this PgBouncer."""
        parts = urlsplit(database_url)
        user = parts.netloc.rpartition("@")[0]
        return parts._replace(netloc=f"{user}@127.0.0.1:{self.port}").geturl()

    def close(self) -> None:
        """End it, and with it all connections through it. After SIGTERM, newer versions would wait for all clients."""
        self._process.kill()
        self._process.wait(20)


@contextmanager
def running_pgbouncer(
    tcp_url: str, mode: PoolMode, *, pool_size: int = 20, knows_prepared_statements: bool = True
) -> Generator[PgBouncer]:
    """Run a PgBouncer in front of the server of a URL, over TCP and with a password.

    Args:
        tcp_url: with a user and a password.
        mode: its pool mode.
        pool_size: how many connections to one database it opens. In transaction mode, few of them serve many clients.
        knows_prepared_statements: whether a newer PgBouncer, in transaction mode, prepares statements again in the
            session that a client gets.
    """
    settings = "" if knows_prepared_statements or _version() < _PREPARES else "max_prepared_statements = 0\n"
    with TemporaryDirectory(prefix="hrs-pgbouncer-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        running = PgBouncer(tcp_url, mode, folder, pool_size, settings)
        try:
            yield running
        finally:
            running.close()


@cache
def installed_or_fetched() -> tuple[Path, Path | None]:
    """Return the program, and the folder of its libraries if they are not those of the system.

    Skips the test if there is no program and none can be fetched.
    """
    if installed := shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"):
        return Path(installed), None
    if not CACHE.exists():
        CACHE.parent.mkdir(exist_ok=True)
        with TemporaryDirectory(dir=CACHE.parent) as name:
            problem = _fetch(Path(name))
            if problem is not None:
                pytest.skip(f"PgBouncer is not installed, and Debian's package cannot be fetched: {problem}")
            if not CACHE.exists():  # another process may have been faster
                Path(name, "root").rename(CACHE)
    [libraries] = (CACHE / "usr" / "lib").glob("*-linux-gnu")
    return CACHE / "usr" / "sbin" / "pgbouncer", libraries


@cache
def _version() -> tuple[int, int]:
    program, libraries = installed_or_fetched()
    environment = {**os.environ, "LD_LIBRARY_PATH": str(libraries)} if libraries else None
    shown = subprocess.run([program, "--version"], env=environment, capture_output=True, text=True, check=True).stdout
    found = re.search(r"PgBouncer (\d+)\.(\d+)", shown)
    assert found is not None, shown
    return int(found[1]), int(found[2])


def _fetch(folder: Path) -> str | None:
    """Unpack the package and its libraries into the folder ``root``; returns the reason if that is not possible."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        return "this system has no apt-get and dpkg-deb"
    for needed in ("state/lists/partial", "cache/archives/partial", "root"):
        (folder / needed).mkdir(parents=True)
    (folder / "apt.conf").write_text(_APT.format(folder=folder))
    try:
        _run(folder, "apt-get", "-qq", "update")
        libraries = _LIBRARIES.findall(_run(folder, "apt-cache", "depends", "pgbouncer"))
        _run(folder, "apt-get", "-qq", "download", "pgbouncer", *libraries)
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
