"""PostgreSQL servers of a chaos run: real servers that are started, crashed, filled up, copied and promoted."""

import os
import pwd
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import psycopg

from horsies.embedded import server as embedded
from tests.support.server import PASSWORD, free_port
from tests.support.sessions import use_test_clocks
from tests.support.waiting import wait_until

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "wal_keep_size": "64MB",
    "hot_standby": "on",
    "max_notify_queue_pages": "64",  # the smallest, so that the queue can be filled
    "log_min_messages": "warning",
}
_BALLAST_CHUNK = 1 << 20


class PostgresServer:
    """One server, with its data folder, port and process."""

    def __init__(self, folder: Path) -> None:
        """Choose a folder and a port, without creating anything."""
        self.folder = folder
        self.data = folder / "data"
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Return the URL of its superuser."""
        return f"postgresql://postgres:{PASSWORD}@127.0.0.1:{self.port}/postgres"

    def create(self) -> None:
        """Create an empty database cluster."""
        self._make_folder()
        password = self.folder / "password"
        password.write_text(PASSWORD)
        self._run("initdb", "--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C",
                  "--no-sync", f"--pgdata={self.data}", f"--pwfile={password}")  # fmt: skip
        with (self.data / "pg_hba.conf").open("a") as rules:
            rules.write("host replication postgres 127.0.0.1/32 scram-sha-256\n")

    def copy(self, primary: "PostgresServer") -> None:
        """Make this server a standby of another one."""
        self._make_folder()
        source = f"host=127.0.0.1 port={primary.port} user=postgres password={PASSWORD}"
        self._run("pg_basebackup", f"--pgdata={self.data}", "--write-recovery-conf", "--checkpoint=fast",
                  "--no-sync", f"--dbname={source}")  # fmt: skip

    def start(self, timeout: float = 60) -> None:
        """Start the server, and wait until it answers. If it stops immediately, as on a full disk, start it again."""

        def is_up() -> bool:
            if self._process is None or self._process.poll() is not None:
                self._process = self._launch()
            with suppress(psycopg.Error), self.connect():
                return True
            return False

        wait_until(is_up, timeout, lambda: f"the server to start: {self.log()[-2000:]}")

    def connect(self) -> psycopg.Connection:
        """Open a session of the superuser."""
        return psycopg.connect(self.url, autocommit=True, connect_timeout=5, application_name="harness")

    def use_test_clock(self) -> None:
        """Let the functions of the schema, which exists, read the time with the shift in its table `clock`."""
        with self.connect() as session:
            use_test_clocks(session)

    def crash(self) -> None:
        """Stop as `pg_ctl stop --mode=immediate` does, without a checkpoint and without informing clients."""
        self._end(signal.SIGQUIT)

    def stop(self) -> None:
        """Stop the server gracefully."""
        self._end(signal.SIGINT)

    def promote(self) -> None:
        """Promote a standby. It has no standby itself now, so its commits wait for none."""
        with self.connect() as session:
            session.execute("select pg_promote(true, 60)")
        self.wait_for_copies(0)

    def wait_for_copies(self, count: int) -> None:
        """Let commits wait for a standby (1) or not (0); wait until the standby is connected."""
        with self.connect() as session:
            names = b"'*'" if count else b"''"
            session.execute(b"alter system set synchronous_standby_names = " + names)
            session.execute("select pg_reload_conf()")
            if count:
                wait_until(
                    lambda: session.execute("select 1 from pg_stat_replication where sync_state = 'sync'").fetchone(),
                    60,
                    "a synchronous standby",
                )

    def log(self) -> str:
        """Return the log of the server."""
        return (self.folder / "log").read_text(errors="replace")

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            self._process.wait(60)

    def _launch(self) -> subprocess.Popen[bytes]:
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        options = [f"--{name}={value}" for name, value in {**SETTINGS, "port": str(self.port)}.items()]
        command = [*embedded._as_server_user(), str(embedded.binaries() / "postgres"), "-D", str(self.data), *options]
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", env=_environment()
            )

    def _make_folder(self) -> None:
        self.data.mkdir(mode=0o700, parents=True)
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(self.data, nobody.pw_uid, nobody.pw_gid)

    def _run(self, program: str, *args: str) -> None:
        with (self.folder / "log").open("ab") as log:
            status = embedded._run([str(embedded.binaries() / program), *args], log.fileno())
        assert status == 0, f"{program} failed: {self.log()[-2000:]}"


class SmallDisk:
    """A small separate file system, which can be filled up. Only root can mount one."""

    def __init__(self, place: Path, megabytes: int) -> None:
        """Mount the file system."""
        self.place = place
        place.mkdir(parents=True)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0755", "chaos", str(place)]
        done = subprocess.run(mount, capture_output=True, check=False)
        self.is_mounted = done.returncode == 0

    def fill(self) -> None:
        """Fill the file system completely."""
        with suppress(OSError), (self.place / "ballast").open("ab", buffering=0) as ballast:
            while True:
                ballast.write(bytes(_BALLAST_CHUNK))

    def free(self) -> None:
        """Free the space again."""
        (self.place / "ballast").unlink(missing_ok=True)

    def close(self) -> None:
        """Unmount the file system."""
        if self.is_mounted:
            subprocess.run(["umount", "-l", str(self.place)], check=False)


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"}
