"""Shared code of the benchmarks: a server, a database, workers, medians, and a description of the machine."""

import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import psycopg

from horsies.db.migrate import migrate
from horsies.embedded import server as embedded

HERE = Path(__file__).parent
READY_WITHIN_S = 60


@dataclass(frozen=True)
class Measured:
    """One measured number with its spread."""

    name: str
    unit: str
    values: Sequence[float]

    def __str__(self) -> str:
        middle = statistics.median(self.values)
        return f"{self.name:<44} {middle:>10,.2f} {self.unit:<6} ({min(self.values):,.2f} to {max(self.values):,.2f})"


def measure(name: str, unit: str, runs: int, once: Callable[[], float]) -> Measured:
    """Call ``once`` ``runs`` times, and print the median and the extremes."""
    found = Measured(name, unit, [once() for _ in range(runs)])
    print(found, flush=True)
    return found


@contextmanager
def database() -> Generator[str]:
    """Create an empty database on an embedded server with default durability, and set the environment to it."""
    folder = Path(tempfile.mkdtemp(prefix="horsies-bench-"))
    server = embedded.acquire(folder / "pg")
    name = f"bench_{uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"create database {name}".encode())
    url = server.replace("/postgres?", f"/{name}?")
    with psycopg.connect(url, autocommit=True) as connection:
        migrate(connection, "horsies")
    os.environ["HORSIES_DATABASE_URL"] = url
    sys.path.insert(0, str(HERE))
    try:
        yield url
    finally:
        embedded.release(folder / "pg")
        while embedded.is_running(folder / "pg"):
            time.sleep(0.05)
        shutil.rmtree(folder)


@contextmanager
def worker(
    *options: str, is_ready: bool = True, app: str = "bench_tasks:app", log: Path | None = None
) -> Generator[subprocess.Popen[bytes]]:
    """Run a worker of the benchmark's tasks; by default, wait until it is ready. ``log`` is the file for its log."""
    command = [str(Path(sys.executable).parent / "horsies"), "worker", app, *options]
    with tempfile.NamedTemporaryFile(suffix=".log") if log is None else log.open("wb") as log_file:
        process = subprocess.Popen(command, cwd=HERE, stderr=log_file)
        try:
            if is_ready:
                wait_for(lambda: b"worker.ready" in Path(log_file.name).read_bytes() or process.poll() is not None)
            yield process
        finally:
            process.terminate()
            process.wait()


def wait_for(condition: Callable[[], bool], poll_s: float = 0.005, within_s: float = READY_WITHIN_S) -> None:
    """Wait until a condition holds."""
    until = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > until:
            sys.exit("the benchmark waited in vain")
        time.sleep(poll_s)


def facts() -> str:
    """Return the commit, the machine and the versions."""
    git = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False, cwd=HERE)
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.release()}"
    versions = f"Python {platform.python_version()}, psycopg {psycopg.__version__}"
    return f"commit {git.stdout.strip() or 'unknown'}, {machine}, {versions}"
