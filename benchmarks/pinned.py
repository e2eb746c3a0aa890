"""Claims while a long transaction elsewhere keeps the database from removing dead rows."""

import random
import statistics
import time
from contextlib import ExitStack

import floor
import psycopg
from flow_kit import CLAIMED, PLAIN, TURNS, KeyedWorker, queue
from setting import measure

from horsies.db.queries import tasks as task_queries

PER_SECOND = 200
KEYS = 1_000
BACKLOG = 400
PROBED = 3
"""Every third claim is explained, to count its blocks."""
PARTS = 10
"""Into how many parts of the same length the time is divided; the first and the last one are compared."""


def pinned(url: str, seconds: float) -> None:
    """Send, claim and end 200 tasks a second beside an old snapshot, in a keyed and in an unkeyed queue."""
    with ExitStack() as stack:
        load: dict[str, Load] = {}
        for name, declared in {"unkeyed": PLAIN, "keyed": TURNS._replace(per_key=2)}.items():
            place = stack.enter_context(queue(url, None, declared))
            load[name] = Load(stack.enter_context(floor.connect(place)))
            pin(stack.enter_context(floor.connect(place)))
        begin = time.perf_counter()
        turn = 0
        while time.perf_counter() - begin < seconds or turn < 2 * PROBED:
            part = min(PARTS - 1, int(PARTS * (time.perf_counter() - begin) / seconds))
            for each in load.values():
                each.step(part)
            turn += 1
            time.sleep(max(0.0, begin + turn * CLAIMED / PER_SECOND - time.perf_counter()))
        lasted = time.perf_counter() - begin
    for name, each in load.items():
        for what, unit, parts in (("blocks of a claim", "", each.blocks), ("a claim", "ms", each.times)):
            for part, which in ((min(parts), "first"), (max(parts), "last")):
                title = f"{what}, {which} tenth of {seconds:g} s, {name}"
                measure(title, unit, len(parts[part]), iter(parts[part]).__next__)
        first, last = (statistics.median(each.times[part]) for part in (min(each.times), max(each.times)))
        measure(f"  last tenth against the first, {name}", "times", 1, iter([last / first]).__next__)
    rate = turn * CLAIMED / lasted
    measure("tasks sent, claimed and ended", "/s", 1, iter([rate]).__next__)


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
