"""Sends of one process: one coroutine, 16 coroutines and 16 threads. `peers.py` compares sends with pgqueuer."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import bench_tasks
from setting import measure

_MANY = 16
_WARM_UP = 5


def senders(runs: int, count: int) -> None:
    """Measure each kind of sender."""
    measure("send_async, 1 coroutine", "/s", runs, lambda: asyncio.run(coroutines(1, count)))
    measure("send_async, 16 coroutines", "/s", runs, lambda: asyncio.run(coroutines(_MANY, count)))
    measure("send, 16 threads", "/s", runs, lambda: threads(_MANY, count))


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
