"""Tasks in queues with and without caps and prefetching, set by the environment. Each writes a ledger."""

import json
import os
import time
from pathlib import Path
from typing import Any

from horsies import (
    AppConfig,
    CustomQueueConfig,
    Horsies,
    PostgresConfig,
    QueueMode,
    TaskError,
    TaskResult,
    WorkerResilienceConfig,
    current_task,
)

CAPS: dict[str, int | None] = json.loads(os.environ.get("TEST_CAPS", '{"a": null, "b": null, "c": null}'))
MORE: dict[str, Any] = json.loads(os.environ.get("TEST_CONFIG", "{}"))

app = Horsies(
    AppConfig(
        broker=PostgresConfig(
            database_url=os.environ.get("HORSIES_DATABASE_URL"),
            pgbouncer_transaction_mode=os.environ.get("TEST_POOL_MODE") == "transaction",
            schema=os.environ.get("HORSIES_TEST_SCHEMA", "horsies"),
        ),
        queue_mode=QueueMode.CUSTOM,
        custom_queues=[CustomQueueConfig(name=name, max_concurrency=cap) for name, cap in CAPS.items()],
        resilience=WorkerResilienceConfig(notify_poll_interval_ms=300_000),  # tests rely on notifications
        **MORE,
    )
)
app.discover_tasks(["queue_tasks"])

type Text = TaskResult[str, TaskError]


def note(line: str) -> None:
    """Append a line to the ledger in a single write, so that lines of several processes do not mix."""
    with Path(os.environ["TEST_LEDGER"]).open("ab", buffering=0) as ledger:
        ledger.write(f"{line}\n".encode())


def work(key: str, seconds: float) -> Text:
    task = current_task()
    assert task is not None
    note(f"+ {task.queue} {key}")
    time.sleep(seconds)
    note(f"- {task.queue} {key}")
    return TaskResult(ok=task.queue)


@app.task("in_a", queue_name="a")
def in_a(key: str, seconds: float = 0) -> Text:
    return work(key, seconds)


@app.task("in_b", queue_name="b")
def in_b(key: str, seconds: float = 0) -> Text:
    return work(key, seconds)


@app.task("in_c", queue_name="c")
def in_c(key: str, seconds: float = 0) -> Text:
    return work(key, seconds)
