"""The cost of a test with the testing kit: a database of its own, and one task that is sent and run."""

import os
import time

from setting import measure

from horsies import AppConfig, Horsies, TaskError, TaskResult
from horsies.testing import TestDatabases, TestQueue

app = Horsies(AppConfig())


@app.task("add")
def add(a: int, b: int) -> TaskResult[int, TaskError]:
    return TaskResult(ok=a + b)


def one_test(databases: TestDatabases) -> float:
    """Return the milliseconds of one test."""
    start = time.perf_counter()
    url = databases.new()
    with TestQueue(app, database_url=url) as queue:
        assert queue.run(add, 1, 2).unwrap() == 3
    databases.drop(url)
    return (time.perf_counter() - start) * 1000


def tests(runs: int) -> None:
    """Measure tests after the first, and the processor time of this process for each."""
    databases = TestDatabases()
    try:
        one_test(databases)
        before = sum(os.times()[:2])
        measure("a test with the testing kit", "ms", runs, lambda: one_test(databases))
        used = (sum(os.times()[:2]) - before) * 1000 / runs
        measure("processor time of a test with the testing kit", "ms", 1, lambda: used)
    finally:
        databases.close()
