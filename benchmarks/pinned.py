"""Claims while a long transaction elsewhere keeps the database from removing dead rows."""

import random
import statistics
import time
from contextlib import ExitStack

import floor
import psycopg
from flow_kit import CLAIMED, PLAIN, TURNS, KeyedWorker, drain_rate, queue
from setting import measure

from horsies.db.queries import tasks as task_queries

KEYS = 1_000
BACKLOG = 400
DRAINED = 50
"""Claims of one drain, before the snapshot is taken and at the end, while it is still kept."""

PROBED = 3
"""Every third claim is explained, to count its blocks."""
_ROWS = b"""
    select (select count(*) from horsies.tasks), n_dead_tup
    from pg_stat_user_tables where relid = 'horsies.tasks'::regclass
"""
PARTS = 10
"""Into how many parts of the same length the time is divided; the first and the last one are compared."""


def pinned(url: str, seconds: float, per_second: int) -> None:
    """Send, claim and end so many tasks a second beside an old snapshot, in a keyed and in an unkeyed queue each."""
    with ExitStack() as stack:
        load: dict[str, Load] = {}
        drains: dict[str, float] = {}
        for name, declared in {"unkeyed": PLAIN, "keyed": TURNS._replace(per_key=2)}.items():
            place = stack.enter_context(queue(url, None, declared))
            load[name] = Load(stack.enter_context(floor.connect(place)))
            drains[name] = load[name].drain()
            pin(stack.enter_context(floor.connect(place)))
        begin = time.perf_counter()
        turn = 0
        while time.perf_counter() - begin < seconds or turn < 2 * PROBED:
            part = min(PARTS - 1, int(PARTS * (time.perf_counter() - begin) / seconds))
            for each in load.values():
                each.step(part)
            turn += 1
            time.sleep(max(0.0, begin + turn * CLAIMED / per_second - time.perf_counter()))
        lasted = time.perf_counter() - begin
        for name, each in load.items():
            report(name, each, seconds)
            ratio = each.drain() / drains[name]
            measure(f"drain at the end, against before the snapshot, {name}", "times", 1, iter([ratio]).__next__)
    rate = turn * CLAIMED / lasted
    measure(f"tasks sent, claimed and ended, of {per_second}/s, each queue", "/s", 1, iter([rate]).__next__)


def pin(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    """Open a transaction that keeps its snapshot."""
    connection.execute("begin isolation level repeatable read")
    connection.execute("select count(*) from horsies.tasks")


class Load:
    """Sends tasks with random keys, and claims and ends as many, with what the claims have cost."""

    def __init__(self, connection: psycopg.Connection[tuple[object, ...]]) -> None:
        self.connection = connection
        self.chance = random.Random(7)  # noqa: S311 - not for cryptography
        self.worker = KeyedWorker(connection)
        self.number = 0
        self.blocks: dict[int, list[float]] = {}
        self.times: dict[int, list[float]] = {}
        self.steps = 0
        self.send(BACKLOG)
        self.worker.finish([task.id for task in self.worker.claim()])

    def drain(self) -> float:
        """Send tasks; return how many a second are claimed and ended then."""
        self.send(DRAINED * CLAIMED)
        return drain_rate(self.worker, DRAINED)

    def send(self, count: int) -> None:
        """Send tasks with random keys."""
        with self.connection.pipeline():
            for _ in range(count):
                self.number += 1
                key = f"k{self.chance.randrange(KEYS):04}"
                call = task_queries.enqueue(floor.request(self.number, key=key), replay=False)
                self.connection.execute(call.sql.encode(), call.params)

    def step(self, part: int) -> None:
        """Send, claim and end as many tasks; count the blocks of some claims."""
        self.send(CLAIMED)
        self.steps += 1
        if self.steps % PROBED == 0:
            blocks, _ = self.worker.explain(f"k{self.chance.randrange(KEYS):04}")
            self.blocks.setdefault(part, []).append(blocks)
            return
        start = time.perf_counter()
        found = self.worker.claim()
        self.times.setdefault(part, []).append((time.perf_counter() - start) * 1000)
        self.worker.finish([task.id for task in found])


def report(name: str, load: Load, seconds: float) -> None:
    """Print what the claims of the first and of the last part cost, and how many rows wait and are dead."""
    for what, unit, parts in (("blocks of a claim", "", load.blocks), ("a claim", "ms", load.times)):
        for part, which in ((min(parts), "first"), (max(parts), "last")):
            title = f"{what}, {which} tenth of {seconds:g} s, {name}"
            measure(title, unit, len(parts[part]), iter(parts[part]).__next__)
        first, last = (statistics.median(parts[part]) for part in (min(parts), max(parts)))
        measure(f"  last tenth against the first, {name}", "times", 1, iter([last / first]).__next__)
    waiting, dead = (float(str(value)) for value in load.connection.execute(_ROWS).fetchone() or (0, 0))
    measure(f"tasks that wait at the end, of {BACKLOG} at the beginning, {name}", "", 1, iter([waiting]).__next__)
    measure(f"dead rows of a task, {name}", "", 1, iter([dead / load.number]).__next__)
