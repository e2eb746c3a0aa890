"""`make bench-growth`: measures what a send, a claim and a finish cost as tables, payloads and distances grow.

    .venv/bin/python benchmarks/growth.py [--quick] [NAME …]

Each value is printed with its ratio to that of the first case of its group, from the same session. The whole run
records its values, and writes tables into docs/performance.md. `--quick` uses small numbers, which are meaningless, and
changes no docs. The tables of the whole run need about 10 GB of disk in the folder for temporary files.
"""

import argparse
import base64
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from uuid import uuid4

import crowd
import floor
import peers
import pinned
import psycopg
from growth_report import Found, write
from peer_list import PEERS, Counts
from psycopg.conninfo import conninfo_to_dict
from setting import HERE, database, facts

from horsies.db.queries import tasks as task_queries
from horsies.db.queries import worker as worker_queries
from horsies.db.queries.worker import Fence

CLAIMED = 20
HORSIES = PEERS[0]
_COMMITS = b"select xact_commit::float8 from pg_stat_database where datname = current_database()"
_WAL = b"select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8"


@dataclass(frozen=True)
class Size:
    """The sizes of the cases."""

    runs: int
    batches: int
    history: Sequence[int]
    waiting: Sequence[int]
    scheduled: int
    queues: int
    payloads: Sequence[int]
    round_trips_ms: Sequence[float]
    senders: Sequence[int]
    counts: Counts
    pinned_s: float


FULL = Size(
    runs=3,
    batches=20,
    history=(1_000_000, 10_000_000),
    waiting=(100_000, 1_000_000),
    scheduled=1_000_000,
    queues=1_000,
    payloads=(1 << 10, 64 << 10, 1 << 20),
    round_trips_ms=(0, 5, 33),
    senders=(1, 2, 4, 8, 16, 32, 64),
    counts=Counts(drained=5_000, sent=640, bulk=10_000, latencies=50),
    pinned_s=900.0,
)
QUICK = Size(
    runs=1,
    batches=3,
    history=(1_000, 2_000),
    waiting=(100, 1_000),
    scheduled=1_000,
    queues=10,
    payloads=(1 << 10, 64 << 10),
    round_trips_ms=(0, 5),
    senders=(1, 4),
    counts=Counts(drained=600, sent=16, bulk=50, latencies=3),
    pinned_s=0.5,
)


@dataclass(frozen=True)
class Shape:
    """The tasks that a probe sends, and the queues that it claims from."""

    queues: Sequence[str] = ("default",)
    payload: int = 0


def probe(url: str, batches: int, shape: Shape) -> dict[str, float]:
    """Send, claim and finish tasks over one connection; return the medians of the calls, and the WAL of each task."""
    times: dict[str, list[float]] = {"send": [], "claim of 20": [], "finish of 20": []}
    worker_id = uuid4()
    text = base64.b64encode(os.urandom(shape.payload * 3 // 4))  # the server could compress a text that repeats itself
    args = b'{"number":1,"text":"%s"}' % text

    def timed[R](what: str, work: Callable[[], R]) -> R:
        start = time.perf_counter()
        done = work()
        times[what].append((time.perf_counter() - start) * 1000)
        return done

    with floor.connect(url) as connection:
        floor.ask(connection, worker_queries.worker_start(worker_id, floor.FACTS))
        before = wal(connection)
        for number in range(1, batches + 1):
            for each in range(CLAIMED):
                request = replace(floor.request(each), queue=shape.queues[each % len(shape.queues)], args=args)
                timed("send", lambda r=request: floor.ask(connection, task_queries.enqueue(r, replay=False)))
            claim = worker_queries.claim(worker_id, number, CLAIMED, shape.queues, ["noop"], free=CLAIMED)
            tasks = timed("claim of 20", lambda c=claim: floor.ask(connection, c)).tasks
            assert len(tasks) == CLAIMED
            outcomes = [floor.outcome(Fence(task.id, number)) for task in tasks]
            finish = worker_queries.finish(worker_id, "floor", outcomes)
            timed("finish of 20", lambda f=finish: floor.ask(connection, f))
        written = (wal(connection) - before) / (batches * CLAIMED)
        floor.ask(connection, worker_queries.worker_stop(worker_id))
    return {**{what: statistics.median(each) for what, each in times.items()}, "WAL of a task": written}


def wal(connection: psycopg.Connection[tuple[object, ...]]) -> float:
    """Return how many bytes of WAL the server has written."""
    row = connection.execute(_WAL).fetchone()
    assert row is not None
    return float(str(row[0]))


def compare(found: Found, size: Size, places: Mapping[str, tuple[str, Shape]]) -> None:
    """Probe each place in turns; the first one is the base."""
    rounds = [
        {name: probe(url, size.batches, shape) for name, (url, shape) in places.items()} for _ in range(size.runs)
    ]
    empty = next(iter(places))
    for name in places:
        for what in rounds[0][empty]:
            value, base = (statistics.median(each[which][what] for each in rounds) for which in (name, empty))
            found.add(name, what, "bytes" if what.startswith("WAL") else "ms", value, base)


def rows(found: Found, url: str, size: Size) -> None:
    """Measure beside many rows of history, beside waiting and scheduled tasks, and with many queues."""
    names = [f"queue_{number}" for number in range(size.queues)]
    fills: dict[str, tuple[str | None, Shape]] = {"empty": (None, Shape())}
    fills |= {f"{count:,} ended tasks": (crowd.ended(count), Shape()) for count in size.history}
    fills |= {f"{count:,} waiting tasks": (crowd.waiting(count), Shape()) for count in size.waiting}
    fills[f"{size.scheduled:,} scheduled tasks"] = (crowd.scheduled(size.scheduled), Shape())
    most = size.waiting[0]
    fills[f"{most:,} tasks in {size.queues:,} queues"] = (crowd.waiting(most, size.queues), Shape(names))
    with ExitStack() as stack:
        places = {name: (stack.enter_context(crowd.place(url, fill)), shape) for name, (fill, shape) in fills.items()}
        compare(found, size, places)


def payloads(found: Found, url: str, size: Size) -> None:
    """Measure with arguments of several sizes."""
    with crowd.place(url, None) as place:
        shapes = {"smallest arguments": Shape()}
        shapes |= {f"arguments of {each >> 10:,} KB": Shape(payload=each) for each in size.payloads}
        compare(found, size, {name: (place, shape) for name, shape in shapes.items()})


def round_trips(found: Found, url: str, size: Size) -> None:
    """Measure sends, drains and latency through a proxy that delays; the first round trip is the base."""
    measures: dict[str, tuple[str, Callable[[peers.Running], float]]] = {
        "send, 1 coroutine": ("/s", lambda running: peers.send(running, 1)),
        "send, 16 coroutines": ("/s", lambda running: peers.send(running, 16)),
        "drain, 2 processes": ("/s", lambda running: peers.drain(running, "sync")),
        "drain async, 2 x 100": ("/s", lambda running: peers.drain(running, "async")),
        "send to result, median": ("ms", lambda running: peers.latencies(running)[0]),
    }
    bases: dict[str, float] = {}
    for each in size.round_trips_ms:
        with delayed(url, each) as far, peers.program(HORSIES, size.counts, far, None) as running:
            for what, (unit, measure) in measures.items():
                value = statistics.median(measure(running) for _ in range(size.runs))
                found.add(f"round trip of {each:g} ms", what, unit, value, bases.setdefault(what, value))


def senders(found: Found, url: str, size: Size) -> None:
    """Measure sends by more and more coroutines of one process; one sender is the base."""
    base = 0.0
    with peers.program(HORSIES, size.counts, url, None) as running:
        for count in size.senders:
            value = statistics.median(peers.send(running, count) for _ in range(size.runs))
            base = base or value
            found.add("1 coroutine" if count == 1 else f"{count} coroutines", "sends", "/s", value, base)


def writes(found: Found, url: str, size: Size) -> None:
    """Measure the WAL and the commits of a task: of its send alone, and of all that follows with a real worker."""
    counts = size.counts
    kinds: dict[str, tuple[int, Callable[[peers.Running], float]]] = {
        "sent one by one": (counts.sent + peers.WARM_UP, lambda running: peers.send(running, 1)),
        "sent in bulk": (counts.bulk, peers.send_bulk),
        "sent in bulk and run": (counts.drained, lambda running: peers.drain(running, "sync")),
    }
    bases: dict[str, float] = {}
    for kind, (tasks, work) in kinds.items():
        before = server_counts(url)
        with peers.program(HORSIES, counts, url, None) as running:
            work(running)
        after = server_counts(url)
        for what, unit in (("WAL of a task", "bytes"), ("commits of a task", "")):
            value = (after[what] - before[what]) / tasks
            found.add(f"a task, {kind}", what, unit, value, bases.setdefault(what, value))


def server_counts(url: str) -> dict[str, float]:
    """Return the bytes of WAL so far, and the commits in the database by sessions that have ended."""
    with floor.connect(url) as connection:
        row = connection.execute(_COMMITS).fetchone()
        assert row is not None
        return {"WAL of a task": wal(connection), "commits of a task": float(str(row[0]))}


def old_snapshot(found: Found, url: str, size: Size) -> None:
    """Measure claims and drains beside an old snapshot; `pinned` prints them, and the ratios of end and beginning."""
    del found
    pinned.pinned(url, size.pinned_s, 500)


@contextmanager
def delayed(url: str, round_trip_ms: float) -> Generator[str]:
    """Run a proxy in front of the server; yield the URL of the same database through it."""
    parts = conninfo_to_dict(url)
    command = [sys.executable, str(HERE / "delay_proxy.py"), str(parts["host"]), str(parts.get("port", 5432))]
    with subprocess.Popen([*command, str(round_trip_ms)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            port = int(process.stdout.readline())
            yield f"postgresql://{parts['user']}@127.0.0.1:{port}/{parts['dbname']}"
        finally:
            process.terminate()


CASES: dict[str, Callable[[Found, str, Size], None]] = {
    "rows": rows,
    "payloads": payloads,
    "round_trips": round_trips,
    "senders": senders,
    "writes": writes,
    "old_snapshot": old_snapshot,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("names", nargs="*", choices=[*CASES, []])
    asked = parser.parse_args()
    session = f"{facts()}, a load of {os.getloadavg()[0]:.1f} at the beginning"
    print(session)
    found = Found(session)
    with database() as url:
        for name in asked.names or CASES:
            found.begin(name)
            CASES[name](found, url, QUICK if asked.quick else FULL)
    if not asked.quick and not asked.names:
        found.record()
        write(found)


if __name__ == "__main__":
    main()
