"""Sends of one process: one sender, 16 coroutines and 16 threads, in turns with pgqueuer over asyncpg.

pgqueuer is measured if `PEER_PYTHON` names the Python of an environment with pgqueuer and asyncpg.
"""

import asyncio
import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import bench_tasks
from setting import measure

if TYPE_CHECKING:
    from collections.abc import Callable

_PEER = Path(__file__).with_name("peer_pgqueuer.py")
_MANY = 16
_WARM_UP = 5


def senders(url: str, runs: int, count: int) -> None:
    """Measure ours and the peer in turns, and the ratio of each turn."""
    peer = os.environ.get("PEER_PYTHON")
    ours: dict[str, Callable[[], float]] = {
        "send_async, 1 coroutine": lambda: asyncio.run(coroutines(1, count)),
        "send_async, 16 coroutines": lambda: asyncio.run(coroutines(_MANY, count)),
        "send, 16 threads": lambda: threads(_MANY, count),
    }
    theirs = {"pgqueuer, 1 coroutine": 1, "pgqueuer, 16 coroutines": _MANY} if peer else {}
    found: dict[str, list[float]] = {name: [] for name in (*ours, *theirs)}
    for _ in range(runs):
        for name, once in ours.items():
            found[name].append(once())
        for name, concurrent in theirs.items():
            found[name].append(enqueued(str(peer), url, concurrent, count))
    for name, values in found.items():
        measure(name, "/s", runs, iter(values).__next__)
    if peer:
        for name, other in zip(ours, ("1 coroutine", "16 coroutines", "16 coroutines"), strict=True):
            ratios = [mine / its for mine, its in zip(found[name], found[f"pgqueuer, {other}"], strict=True)]
            measure(f"  {name} / pgqueuer", "times", runs, iter(ratios).__next__)


async def coroutines(senders: int, count: int) -> float:
    """Return the sends per second of several coroutines, each of which sends one task after the other."""

    async def send(tasks: int) -> None:
        for number in range(tasks):
            (await bench_tasks.noop.send_async(number)).unwrap()

    await asyncio.gather(*(send(_WARM_UP) for _ in range(senders)))
    start = time.perf_counter()
    await asyncio.gather(*(send(count // senders) for _ in range(senders)))
    return count // senders * senders / (time.perf_counter() - start)


def threads(senders: int, count: int) -> float:
    """Return the sends per second of several threads, each of which sends one task after the other."""

    def send(tasks: int) -> None:
        for number in range(tasks):
            bench_tasks.noop.send(number).unwrap()

    with ThreadPoolExecutor(senders) as pool:
        list(pool.map(send, [_WARM_UP] * senders))
        start = time.perf_counter()
        list(pool.map(send, [count // senders] * senders))
        return count // senders * senders / (time.perf_counter() - start)


def enqueued(python: str, url: str, concurrent: int, count: int) -> float:
    """Return the jobs per second that pgqueuer enqueues into the same database."""
    command = [python, str(_PEER), url, str(concurrent), str(count)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
