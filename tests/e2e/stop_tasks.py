"""Tasks that are cancelled or exceed their time-out, and tasks that run beside them.

Waiting tasks wait for a file, so that a test decides when they end.
"""

import asyncio
import os
import time
from pathlib import Path

from horsies import AppConfig, Horsies, PostgresConfig, RetryPolicy, TaskError, TaskResult, current_task

app = Horsies(
    AppConfig(
        broker=PostgresConfig(
            database_url=os.environ.get("HORSIES_DATABASE_URL"),
            pgbouncer_transaction_mode=os.environ.get("TEST_POOL_MODE") == "transaction",
        )
    )
)

AGAIN = RetryPolicy.fixed([0.1], auto_retry_for=["TASK_TIMEOUT"], jitter=False)
FOREVER_S = 600.0

type Text = TaskResult[str, TaskError]


def note(key: str) -> None:
    """Append a line to the ledger."""
    with Path(os.environ["TEST_LEDGER"]).open("ab", buffering=0) as ledger:
        ledger.write(f"{key} {os.getpid()}\n".encode())


def is_released(key: str) -> bool:
    """Whether the file of that name exists."""
    return Path(f"{key}.go").exists()


async def released(key: str) -> Text:
    """Wait until the file of that name exists."""
    while not is_released(key):  # noqa: ASYNC110 - another process creates the file
        await asyncio.sleep(0.02)
    note(f"{key}:end")
    return TaskResult(ok=key)


def released_here(key: str) -> Text:
    """Wait in this thread until the file of that name exists."""
    while not is_released(key):
        time.sleep(0.02)
    note(f"{key}:end")
    return TaskResult(ok=key)


@app.task("hold")
async def hold(key: str) -> Text:
    note(key)
    return await released(key)


@app.task("hold_def")
def hold_def(key: str) -> Text:
    note(key)
    return released_here(key)


@app.task("nap")
async def nap(key: str, seconds: float) -> Text:
    note(key)
    await asyncio.sleep(seconds)
    return TaskResult(ok=key)


@app.task("polite")
async def polite(key: str) -> Text:
    """End when cancelled, and note that in the ledger."""
    note(key)
    try:
        return await released(key)
    except asyncio.CancelledError:
        note(f"{key}:cancelled")
        raise


@app.task("stubborn")
async def stubborn(key: str) -> Text:
    """Do not end when cancelled."""
    note(key)
    try:
        return await released(key)
    except asyncio.CancelledError:
        note(f"{key}:cancelled")
        return await released(key)


@app.task("cooperative")
def cooperative(key: str) -> Text:
    """Run in a thread, and end when the attempt is cancelled."""
    note(key)
    task = current_task()
    while task is not None and not task.cancelled:
        time.sleep(0.02)
    note(f"{key}:end")
    return TaskResult(ok=key)


@app.task("late_def", timeout_ms=300)
def late_def(key: str) -> Text:
    note(key)
    return released_here(key)


@app.task("late_polite", timeout_ms=300)
async def late_polite(key: str) -> Text:
    note(key)
    return await released(key)


@app.task("late_stubborn", timeout_ms=300)
async def late_stubborn(key: str) -> Text:
    note(key)
    try:
        return await released(key)
    except asyncio.CancelledError:
        return await released(key)


@app.task("late_blocking", timeout_ms=300)
async def late_blocking(key: str) -> Text:
    """Block the event loop."""
    note(key)
    return released_here(key)


@app.task("late_retried", timeout_ms=300, retry_policy=AGAIN)
def late_retried(key: str) -> Text:
    """Exceed the time-out in the first attempt only."""
    note(key)
    task = current_task()
    return released_here(key) if task is not None and task.attempt == 1 else TaskResult(ok="second time")


@app.task("cleanup_raises", timeout_ms=300, retry_policy=AGAIN)
async def cleanup_raises(key: str, how: str) -> Text:
    """Exceed the time-out, then clean up as various database drivers do."""
    note(key)
    if how == "group":
        async with asyncio.TaskGroup() as group:
            group.create_task(_fail_when_cancelled(OSError("reset by peer")))
    try:
        await asyncio.sleep(FOREVER_S)
    except asyncio.CancelledError as cancelled:
        match how:
            case "returns":
                return TaskResult(ok="late")
            case "wraps":
                raise RuntimeError("request failed") from cancelled
            case "fails":
                return TaskResult(err=TaskError(error_code="OWN_CODE", message="its own error"))
            case "exits":
                raise SystemExit(3) from None
            case "unprintable":
                raise UnprintableError from None
            case _:
                raise
    finally:
        if how == "finally":
            raise OSError("closing failed")
    return TaskResult(ok="never")


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


async def _fail_when_cancelled(error: OSError) -> None:
    try:
        await asyncio.sleep(FOREVER_S)
    finally:
        raise error


@app.task("blocks_and_returns", timeout_ms=300)
async def blocks_and_returns(key: str) -> Text:
    """Block the event loop beyond the time-out, and return before the loop can cancel the task."""
    note(key)
    time.sleep(0.6)  # noqa: ASYNC251 - the point of this task
    return TaskResult(ok="late")
