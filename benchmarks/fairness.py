"""How long tasks of small keys wait beside a key with many tasks, counted in starts.

Workers claim and end tasks in a random order over one connection, so the count depends neither on the machine nor on
its load. Without the crowd, the workers have little to do; with it, they are never idle.
"""

import random
import statistics
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from uuid import UUID

import floor
import psycopg
from flow_kit import TURNS, KeyedWorker, queue, waiting
from setting import measure

from horsies.db.queries import tasks as task_queries

WORKERS, PLACES, KEYS = 4, 8, 100
"""The workers, the tasks that each runs at the same time, and the keys that send now and then."""

_PER_STEP = 0.5
"""How many tasks the small keys send for each task that ends."""


def fairness(url: str, runs: int, crowd: int, sent: int) -> None:
    """Compare the median of the starts from a send to the start of the task, with and without the crowd."""
    loads: dict[str, Callable[[int], int]] = {
        "one at a time": lambda step: int(step * _PER_STEP) - int((step - 1) * _PER_STEP),
        f"{KEYS} at once": lambda step: KEYS if step % int(KEYS / _PER_STEP) == 1 else 0,
    }
    waits: dict[tuple[str, str], list[float]] = {}
    for run in range(runs):
        for name, fill in (("alone", None), ("beside the crowd", waiting(1, crowd, prefix="crowd"))):
            with ExitStack() as stack:
                connection = stack.enter_context(floor.connect(stack.enter_context(queue(url, fill, TURNS))))
                for load, arrivals in loads.items():
                    median = statistics.median(Cluster(connection, run).waits(sent, arrivals))
                    waits.setdefault((load, name), []).append(median)
    for (load, name), values in waits.items():
        measure(f"starts until a small key's task, {load}, {name}", "", runs, iter(values).__next__)
        if name != "alone":
            ratios = [busy / alone for busy, alone in zip(values, waits[load, "alone"], strict=True)]
            measure("  starts against alone", "times", runs, iter(ratios).__next__)


@dataclass
class Worker:
    """A worker and the tasks that it runs, each with the exchange that claimed it."""

    claims: KeyedWorker
    running: list[tuple[UUID, int]] = field(default_factory=list[tuple[UUID, int]])


class Cluster:
    """Workers that claim as many tasks as they have places, whenever a task ends or one is sent."""

    def __init__(self, connection: psycopg.Connection[tuple[object, ...]], seed: int) -> None:
        self.connection = connection
        self.chance = random.Random(seed)  # noqa: S311 - not for cryptography
        self.workers = [Worker(KeyedWorker(connection)) for _ in range(WORKERS)]
        self.starts = 0
        self.sent_at: dict[UUID, int] = {}
        self.found: list[int] = []
        self.number = 0
        for worker in self.workers:
            self.claim(worker)

    def waits(self, count: int, arrivals: Callable[[int], int]) -> list[int]:
        """Let the small keys send ``count`` tasks, and return how many starts each has waited for, its own included."""
        step = 0
        while len(self.found) < count:
            step += 1
            for _ in range(arrivals(step)):
                self.send()
            busy = [worker for worker in self.workers if worker.running]
            if busy:
                worker = self.chance.choice(busy)
                task, exchange = worker.running.pop(self.chance.randrange(len(worker.running)))
                worker.claims.finish([task], exchange)
                self.claim(worker)
            for worker in self.chance.sample(self.workers, WORKERS):  # those that a notification wakes
                if self.sent_at and len(worker.running) < PLACES:
                    self.claim(worker)
        return self.found[:count]

    def send(self) -> None:
        """Send a task of the next small key."""
        self.number += 1
        request = floor.request(self.number, key=f"small {self.number % KEYS:03}")
        floor.ask(self.connection, task_queries.enqueue(request, replay=False))
        self.sent_at[request.task_id] = self.starts

    def claim(self, worker: Worker) -> None:
        """Let a worker claim as many tasks as it has free places."""
        for task in worker.claims.claim(PLACES - len(worker.running)):
            self.starts += 1
            worker.running.append((task.id, worker.claims.exchange))
            sent = self.sent_at.pop(task.id, None)
            if sent is not None:
                self.found.append(self.starts - sent)
