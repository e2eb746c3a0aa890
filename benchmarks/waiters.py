"""Many coroutines that wait in one process: the memory of each, the connections of all, and how fast all are woken.

    .venv/bin/python benchmarks/waiters.py (bare|get_async|with_timeout) (traced|resident) COUNT

`run.py waiters` runs this file in separate processes, because the memory of a process depends on what it did before.
The process starts COUNT coroutines that wait, prints what each of them takes, and ends when all have their results. A
`bare` coroutine awaits an `asyncio.Future`, and is the floor. The others await `get_async`. The numbers include the
task and the coroutine of each waiter, but not its handle, which exists before. `traced` counts the memory that Python
objects use. `resident` is the growth of the process. It includes what the first look at each task needed for a moment.
"""

import asyncio
import gc
import json
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import floor
import psutil
import psycopg
from setting import measure, worker

from horsies import AppConfig, Horsies, PostgresConfig, TaskError, TaskHandle, TaskResult

_POOL = 3
_TIMEOUT_MS = 600_000
_CONNECTIONS = b"select count(*) from pg_stat_activity where application_name = 'horsies'"


def waiters(url: str, runs: int, count: int) -> None:
    """Measure both kinds of waiters."""
    for how in ("traced", "resident"):
        for kind in ("bare", "get_async", "with_timeout"):
            measure(f"waiter, {kind}, {how}", "B", runs, lambda kind=kind, how=how: once(url, kind, how, count)[0])
    found = [once(url, "get_async", "resident", count) for _ in range(runs)]
    measure(f"connections of {count:,} waiters", "", runs, iter([each[1] for each in found]).__next__)
    measure(f"{count:,} tasks run and waiters woken", "s", runs, iter([each[2] for each in found]).__next__)


def once(url: str, kind: str, how: str, count: int) -> tuple[float, float, float]:
    """Return the bytes of each waiter, the connections of the process, and the seconds until all were woken."""
    if kind != "bare":
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("truncate horsies.tasks, horsies.history, horsies.attempts, horsies.workers")
        floor.fill(url, count, "noop")
    command = [sys.executable, __file__, kind, how, str(count)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = json.loads(process.stdout.readline())
        start = time.perf_counter()
        if kind == "bare":
            process.wait()
        else:
            with worker("--processes=2", is_ready=False):
                process.wait()
        assert process.returncode == 0
        return found["bytes"], found["connections"], time.perf_counter() - start


async def bare(future: asyncio.Future[None]) -> None:
    await future


async def wait_bare(count: int, used: Callable[[], int]) -> None:
    before = used()
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(bare(loop.create_future())) for _ in range(count)]
    await asyncio.sleep(0)
    print(json.dumps({"bytes": (used() - before) / count, "connections": 0}), flush=True)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def get(handle: TaskHandle[Any], timeout_ms: int | None) -> bool:
    return (await handle.get_async(timeout_ms)).is_ok()


async def wait_for_results(count: int, used: Callable[[], int], timeout_ms: int | None) -> None:
    app = Horsies(AppConfig(broker=PostgresConfig(pool_size=_POOL, max_overflow=0)))
    app.task("noop")(noop)
    url = app.config.broker.resolve_url()
    with psycopg.connect(url, autocommit=True) as connection:
        ids = [row[0] for row in connection.execute("select id from horsies.tasks")]
    handles = [app.handle(str(each)) for each in ids]
    await handles[0].get_async(timeout_ms=0)  # opens connections and starts the listener
    before = used()
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(get(each, timeout_ms)) for each in handles]
    await asyncio.sleep(0)
    for _ in range(3):  # these wait for the first look at each task, because they are behind all others
        await handles[0].get_async(timeout_ms=0)
    taken = used() - before
    with psycopg.connect(url, autocommit=True) as connection:
        connections = connection.execute(_CONNECTIONS).fetchall()[0][0]
    print(json.dumps({"bytes": taken / count, "connections": connections}), flush=True)
    assert all(await asyncio.gather(*tasks))


def noop(number: int) -> TaskResult[int, TaskError]:
    return TaskResult(ok=number)


def main() -> None:
    kind, how, count = sys.argv[1:]
    process = psutil.Process()

    def traced() -> int:
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    def resident() -> int:
        gc.collect()
        return process.memory_info().rss

    if how == "traced":
        tracemalloc.start()
    used = traced if how == "traced" else resident
    if kind == "bare":
        asyncio.run(wait_bare(int(count), used))
    else:
        asyncio.run(wait_for_results(int(count), used, _TIMEOUT_MS if kind == "with_timeout" else None))


if __name__ == "__main__":
    main()
