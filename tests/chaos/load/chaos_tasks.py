"""The tasks of the chaos harness. Each attempt writes its start and its end to a ledger outside the queue.

Real workers and producers import it from a copy in the folder of the run. Environment variables contain the settings.
"""

import asyncio
import os
import select
import time
from pathlib import Path

from horsies import (
    AppConfig,
    CustomQueueConfig,
    Horsies,
    Ok,
    PostgresConfig,
    QueueMode,
    RecoveryConfig,
    RetryPolicy,
    TaskError,
    TaskResult,
    WorkerResilienceConfig,
    current_task,
)

STALE_MS = int(os.environ.get("CHAOS_STALE_MS", "4000"))
CAP = int(os.environ.get("CHAOS_CAP", "0"))
PREFETCH = int(os.environ.get("CHAOS_PREFETCH", "0"))

app = Horsies(
    AppConfig(
        broker=PostgresConfig(pool_timeout=5),
        queue_mode=QueueMode.CUSTOM,
        custom_queues=[
            CustomQueueConfig(name="main", priority=2, max_concurrency=None),
            CustomQueueConfig(name="capped", priority=1, max_concurrency=CAP or None),
        ],
        prefetch_buffer=PREFETCH,
        claim_lease_ms=3_000 if PREFETCH else None,
        recovery=RecoveryConfig(
            running_stale_threshold_ms=STALE_MS,
            claimed_stale_threshold_ms=STALE_MS,
            runner_heartbeat_interval_ms=1_000,
            claimer_heartbeat_interval_ms=1_000,
            check_interval_ms=1_000,
        ),
        resilience=WorkerResilienceConfig(db_retry_initial_ms=100, db_retry_max_ms=500, notify_poll_interval_ms=1_000),
    )
)
app.discover_tasks(["chaos_tasks", "chaos_effects", "chaos_flows"])

DELAYS = [0.2] * 8
AGAIN = RetryPolicy.fixed(DELAYS, auto_retry_for=["WORKER_CRASHED"], jitter=False)
FLAKY = RetryPolicy.fixed([0.1, 0.2], auto_retry_for=["FLAKY"], jitter=False)

type Text = TaskResult[str, TaskError]


def write(file: str, line: str) -> None:
    """Append a line in a single write, so that lines of several processes do not mix."""
    with Path(os.environ["CHAOS_LEDGER"], file).open("ab", buffering=0) as ledger:
        ledger.write(f"{line}\n".encode())


def note(what: str) -> str:
    """Record that this attempt begins or ends here; return the expected result of the task."""
    task = current_task()
    assert task is not None
    write("notes", f"{what} {task.id} {task.attempt} {os.getpid()} {time.clock_gettime(time.CLOCK_MONOTONIC)}")
    return f"{task.attempt} {os.getpid()}"


def sleep(seconds: float) -> None:
    """Sleep without `time.sleep`, which does not work with libfaketime."""
    select.select([], [], [], seconds)


def through(seconds: float = 0.0) -> Text:
    """Record the start, wait, and record the end."""
    note("begin")
    sleep(seconds)
    return TaskResult(ok=note("end"))


if "FAKETIME" in os.environ:
    time.sleep = sleep  # fails with EINVAL under libfaketime, and producers wait with it between retries


@app.task("quick", queue_name="main")
def quick(secret: str = "") -> Text:
    del secret
    return through()


@app.task("quick_again", queue_name="main", retry_policy=AGAIN)
def quick_again(secret: str = "") -> Text:
    del secret
    return through()


@app.task("nap", queue_name="main")
def nap(seconds: float) -> Text:
    return through(seconds)


@app.task("nap_again", queue_name="main", retry_policy=AGAIN)
def nap_again(seconds: float) -> Text:
    return through(seconds)


@app.task("nap_async", queue_name="main")
async def nap_async(seconds: float) -> Text:
    note("begin")
    await asyncio.sleep(seconds)
    return TaskResult(ok=note("end"))


@app.task("flaky", queue_name="main", retry_policy=FLAKY)
def flaky(failures: int) -> Text:
    note("begin")
    task = current_task()
    assert task is not None
    if task.attempt <= failures:
        return TaskResult(err=TaskError(error_code="FLAKY", message="not yet"))
    return TaskResult(ok=note("end"))


@app.task("failing", queue_name="main")
def failing() -> Text:
    note("begin")
    return TaskResult(err=TaskError(error_code="ALWAYS", message="never"))


@app.task("capped", queue_name="capped")
def capped(seconds: float) -> Text:
    return through(seconds)


@app.task("offspring", queue_name="main")
def offspring(origin: str, attempt: int) -> Text:
    del origin, attempt
    return through()


@app.task("sender", queue_name="main")
def sender() -> Text:
    note("begin")
    task = current_task()
    assert task is not None
    answer = offspring.send(task.id, task.attempt)
    while not isinstance(answer, Ok):
        sleep(0.1)
        answer = offspring.retry_send(answer.err_value)
    write("sent", f"accepted offspring {answer.ok_value.task_id}")
    return TaskResult(ok=note("end"))
