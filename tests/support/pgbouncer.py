"""A real PgBouncer in front of a server.

The installed program is used, if there is one. Otherwise Debian's package and the libraries that it needs are fetched
with apt-get into ``.tools/pgbouncer``; nothing is installed, so this needs no privileges. Where that is not possible,
the tests of this module are skipped.
"""

import re
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal
from urllib.parse import unquote, urlsplit

import psycopg

from horsies.embedded import server as embedded
from tests.support.debian import installed_or_fetched
from tests.support.server import free_port
from tests.support.waiting import wait_until

type PoolMode = Literal["session", "transaction"]

_PREPARES = (1, 21)
_LIBRARIES = "lib(?:c-ares|cares|event)"
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
        program, environment = installed_or_fetched("pgbouncer", _LIBRARIES)
        command = [*embedded._as_server_user(), str(program), str(folder / "pgbouncer.ini")]
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
def _version() -> tuple[int, int]:
    program, environment = installed_or_fetched("pgbouncer", _LIBRARIES)
    shown = subprocess.run([program, "--version"], env=environment, capture_output=True, text=True, check=True).stdout
    found = re.search(r"PgBouncer (\d+)\.(\d+)", shown)
    assert found is not None, shown
    return int(found[1]), int(found[2])
