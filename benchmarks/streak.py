"""Many drains in a row on a busy machine and a busy server; a slow drain is recorded while it lasts.

Other databases of the server send and receive notifications all the time, and a process computes for half of the time.
A drain that takes longer than three times the median of the drains before it is slow. Each second of it is recorded
in a file: the stacks of all processes of the worker, the sessions of the server with what they wait for, locks that are
not granted, the fill of the notification queue, and the load of the machine.

    python streak.py notify URL     sends notifications and receives those of others, until it is terminated
    python streak.py compute        computes for half of the time, until it is terminated
"""

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import floor
import psycopg
from psycopg.sql import SQL, Identifier
from setting import Measured, worker

SLOW_FACTOR = 3
RECORDS = Path(__file__).parents[1] / "build" / "slow-drains"
_LEAST_KNOWN = 5
_LONGEST_AT_FIRST_S = 10.0
_GIVE_UP_S = 120.0
_POLL_S = 0.25
_RECORD_EVERY_S = 1.0
_MOST_RECORDS = 10
_NOTICES_PER_PAUSE = 20
_PAUSE_S = 0.05
_ENDED = b"select count(*) from horsies.history"
_RATE = b"""
    select count(*) filter (where finished_at > first) / extract(epoch from max(finished_at) - min(first))
    from (select finished_at, min(finished_at) over () as first from horsies.history) as outcomes
"""
_LOOKS = {
    "sessions": b"""
        select pid, datname, application_name, backend_type, state, wait_event_type, wait_event,
               now() - xact_start as transaction, now() - query_start as statement, left(query, 120) as query
        from pg_stat_activity order by datname, pid
    """,
    "locks that are not granted": b"""
        select pid, locktype, mode, relation::regclass, transactionid, pg_blocking_pids(pid)
        from pg_locks where not granted
    """,
    "fill of the notification queue": b"select pg_notification_queue_usage()",
}


@dataclass(frozen=True)
class Drain:
    """One drain of a streak.

    Attributes:
        rate: tasks per second, from the first outcomes to the last.
        records: the files with what was seen while it was slow.
    """

    rate: float
    records: Sequence[Path]


def streak(url: str, drains: int, count: int) -> None:
    """Drain ``count`` tasks, ``drains`` times in a row, and print the rates.

    Raises:
        SystemExit: a drain was slower than a third of the median.
    """
    found: list[Drain] = []
    with ExitStack() as stack:
        for number in range(2):
            stack.enter_context(notifying(url, f"streak_{os.getpid()}_{number}"))
        stack.enter_context(helper("compute"))
        for number in range(drains):
            found.append(drained(url, count, number, [each.rate for each in found]))
    rates = [each.rate for each in found]
    print(Measured("drain in a row, 2 processes", "/s", rates))
    print(Measured("  slowest against the median", "times", [min(rates) / statistics.median(rates)]), flush=True)
    for number, each in enumerate(found):
        for path in each.records:
            print(f"  drain {number + 1} ({each.rate:,.0f}/s) was slow for a while: {path}")
    if drains >= _LEAST_KNOWN and min(rates) * SLOW_FACTOR < statistics.median(rates):
        sys.exit("a drain was slower than a third of the median")


def drained(url: str, count: int, number: int, before: Sequence[float]) -> Drain:
    """Drain ``count`` tasks; record what happens if that takes longer than thrice the median of the drains before."""
    usual_s = count / statistics.median(before) if len(before) >= _LEAST_KNOWN else None
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("truncate horsies.tasks, horsies.history, horsies.attempts, horsies.workers")
        floor.fill(url, count, "noop")
        with tempfile.TemporaryDirectory() as folder, worker("--processes=2", log=Path(folder) / "log") as process:
            watch = Watch(connection, process, Path(folder) / "log", number)
            watch.until(lambda: asked(connection, _ENDED) == count, SLOW_FACTOR * usual_s if usual_s else None)
        return Drain(asked(connection, _RATE), watch.records)


class Watch:
    """Waits for the end of a drain, and records what happens while it is slow."""

    def __init__(
        self,
        connection: psycopg.Connection[tuple[object, ...]],
        process: subprocess.Popen[bytes],
        log: Path,
        number: int,
    ) -> None:
        self._connection = connection
        self._process = process
        self._log = log
        self._number = number
        self.records: list[Path] = []

    def until(self, is_done: Callable[[], bool], slow_after_s: float | None) -> None:
        """Wait until a drain is done.

        Args:
            is_done: whether it is.
            slow_after_s: after how many seconds it is recorded; None: after a time that is long for any drain.
        """
        start = time.monotonic()
        next_record = start + (slow_after_s or _LONGEST_AT_FIRST_S)
        while not is_done():
            now = time.monotonic()
            if now - start > _GIVE_UP_S:
                sys.exit(f"a drain did not end within {_GIVE_UP_S:g} s: see {RECORDS}")
            if now >= next_record and len(self.records) < _MOST_RECORDS:
                self._record(now - start)
                next_record = now + _RECORD_EVERY_S
            time.sleep(_POLL_S)

    def _record(self, elapsed_s: float) -> None:
        known = self._log.stat().st_size
        self._process.send_signal(signal.SIGQUIT)  # all processes of the worker write their stacks to the log
        parts = [f"drain {self._number + 1}, {elapsed_s:.2f} s after its worker was ready, load {os.getloadavg()}"]
        for name, query in _LOOKS.items():
            parts += [f"== {name}", table(self._connection, query)]
        time.sleep(_POLL_S)
        parts += ["== stacks", self._log.read_bytes()[known:].decode(errors="replace")]
        RECORDS.mkdir(parents=True, exist_ok=True)
        path = RECORDS / f"{time.strftime('%Y%m%d-%H%M%S')}-drain-{self._number + 1}-{len(self.records) + 1}.txt"
        path.write_text("\n".join(parts) + "\n")
        self.records.append(path)


def table(connection: psycopg.Connection[tuple[object, ...]], query: bytes) -> str:
    """Return the rows of a query as lines of text."""
    cursor = connection.execute(query)
    names = [column.name for column in cursor.description or ()]
    return "\n".join("\t".join("" if cell is None else str(cell) for cell in row) for row in [names, *cursor])


def asked(connection: psycopg.Connection[tuple[object, ...]], query: bytes) -> float:
    """Return the number that a query finds."""
    row = connection.execute(query).fetchone()
    return 0 if row is None else float(str(row[0]))


@contextmanager
def notifying(url: str, name: str) -> Generator[None]:
    """Keep another database of the server busy with notifications, and remove it at the end."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(SQL("create database {}").format(Identifier(name)))
        other = url.replace(f"/{connection.info.dbname}?", f"/{name}?")
        try:
            with helper("notify", other):
                yield
        finally:
            connection.execute(SQL("drop database {} with (force)").format(Identifier(name)))


@contextmanager
def helper(*arguments: str) -> Generator[None]:
    """Run this program as another process meanwhile."""
    with subprocess.Popen([sys.executable, __file__, *arguments]) as process:
        try:
            yield
        finally:
            process.terminate()


def notify(url: str) -> None:
    """Send notifications over one connection, and receive them over another one."""
    with psycopg.connect(url, autocommit=True) as sender, psycopg.connect(url, autocommit=True) as listener:
        listener.execute("listen busy")
        while True:
            for number in range(_NOTICES_PER_PAUSE):
                sender.execute("select pg_notify('busy', %s)", (f"{number}{'x' * 500}",))
            received = listener.notifies(timeout=_PAUSE_S, stop_after=_NOTICES_PER_PAUSE)
            assert all(each.channel == "busy" for each in received)


def compute() -> None:
    """Compress data for half of the time."""
    data = os.urandom(1 << 20)
    while True:
        until = time.monotonic() + _PAUSE_S
        while time.monotonic() < until:
            zlib.compress(data[: 1 << 16])
        time.sleep(_PAUSE_S)


if __name__ == "__main__":
    notify(sys.argv[2]) if sys.argv[1] == "notify" else compute()
