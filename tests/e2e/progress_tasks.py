"""Tasks that report their progress."""

import asyncio
import os
import time

from horsies import AppConfig, Horsies, PostgresConfig, TaskError, TaskResult, current_task

app = Horsies(
    AppConfig(
        broker=PostgresConfig(
            database_url=os.environ.get("HORSIES_DATABASE_URL"),
            pgbouncer_transaction_mode=os.environ.get("TEST_POOL_MODE") == "transaction",
            schema=os.environ.get("HORSIES_TEST_SCHEMA", "horsies"),
        )
    )
)
app.discover_tasks(["progress_tasks"])

type Seen = TaskResult[dict[str, str | int | bool], TaskError]


def look() -> dict[str, str | int | bool]:
    task = current_task()
    assert task is not None
    return {"id": task.id, "attempt": task.attempt, "queue": task.queue, "has_deadline": task.deadline is not None}


@app.task("work", timeout_ms=60_000)
def work(total: int) -> Seen:
    task = current_task()
    assert task is not None
    for done in range(total + 1):
        task.progress(done, total, "steps")
    return TaskResult(ok=look())


@app.task("work_async")
async def work_async(total: int) -> Seen:
    task = current_task()
    assert task is not None
    for done in range(total + 1):
        task.progress(done, total, "steps")
        await asyncio.sleep(0)
    return TaskResult(ok=look())


@app.task("until_cancelled")
def until_cancelled() -> TaskResult[None, TaskError]:
    task = current_task()
    assert task is not None
    task.progress(0.5)
    while not task.cancelled:
        time.sleep(0.01)
    return TaskResult(ok=None)
