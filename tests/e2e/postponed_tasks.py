"""Tasks that ask to run again later. Each start is a line in a ledger."""

import os
import time
from pathlib import Path
from typing import Any

import psycopg

from horsies import (
    AppConfig,
    Horsies,
    OperationalErrorCode,
    PostgresConfig,
    RateLimited,
    RetryPolicy,
    Snooze,
    TaskError,
    TaskResult,
    WorkerResilienceConfig,
    WorkflowDefinition,
    WorkflowSpec,
    current_task,
)

URL, SCHEMA = os.environ.get("HORSIES_DATABASE_URL"), os.environ.get("HORSIES_TEST_SCHEMA", "horsies")
app = Horsies(
    AppConfig(
        broker=PostgresConfig(database_url=URL, schema=SCHEMA),
        exception_mapper={Exception: "OTHER"},
        # A test delays replies, and needs a worker that sends nothing in that moment.
        resilience=WorkerResilienceConfig(notify_poll_interval_ms=60_000),
    )
)
AFTER_CRASH = RetryPolicy.fixed([0.1], auto_retry_for=[OperationalErrorCode.WORKER_CRASHED])

type Seen = TaskResult[int, TaskError]


class QuotaError(TaskError):
    """An error class that the answers need not have."""

    service: str


def starts(key: str) -> int:
    """Note a start, and return how many there were."""
    with Path("starts").open("a") as ledger:
        ledger.write(f"{key}\n")
    return Path("starts").read_text().splitlines().count(key)


def attempt() -> Seen:
    """Return the number of the attempt."""
    task = current_task()
    assert task is not None
    return TaskResult(ok=task.attempt)


@app.task("returns")
def returns(key: str, times: int) -> TaskResult[int, QuotaError]:
    """Answer a number of times, then return the number of the attempt."""
    if starts(key) <= times:
        return TaskResult(err=RateLimited(retry_after=0.01))
    return TaskResult(ok=attempt().ok_value)


@app.task("returns_bare")
def returns_bare(key: str, times: int) -> Seen:
    """Answer without a `TaskResult`."""
    return attempt() if starts(key) > times else RateLimited(0.01, "task")  # type: ignore[return-value] # pyright: ignore[reportReturnType]


@app.task("raises")
def raises(key: str, times: int) -> Seen:
    """Raise the answer."""
    if starts(key) <= times:
        raise RateLimited(0.01, scope="queue")
    return attempt()


@app.task("raises_async")
async def raises_async(key: str, times: int) -> Seen:
    """Raise the answer in a coroutine."""
    if starts(key) <= times:
        raise Snooze(0.01)
    return attempt()


@app.task("wrong_value")
def wrong_value(key: str) -> Seen:
    """Answer with the text of a header."""
    starts(key)
    wrong: Any = "secret-120"
    return TaskResult(err=RateLimited(wrong))


@app.task("writes", transactional=True)
def writes(connection: psycopg.Connection, key: str) -> Seen:
    """Insert a row in each attempt; the first one is postponed."""
    connection.execute("insert into effects values (%s)", [key])
    return TaskResult(err=Snooze(0.01)) if starts(key) == 1 else attempt()


@app.task("waits", retry_policy=AFTER_CRASH)
def waits(key: str) -> Seen:
    """Answer once when a file appears."""
    if starts(key) > 1:
        return attempt()
    while not Path(f"{key}.go").exists():
        time.sleep(0.01)
    return TaskResult(err=RateLimited(0))


class Shipping(WorkflowDefinition[int]):
    """A sub-workflow whose builder and whose node are postponed."""

    name = "shipping"
    definition_key = "test.shipping.v1"

    @classmethod
    def build_with(cls, app: Horsies) -> WorkflowSpec[int]:
        """Make the workflow at the second call."""
        if starts("builder") == 1:
            raise Snooze(0.01)
        node = returns.node(node_id="inner")("inner", 1)
        return app.workflow("shipping", [node], output=node)
