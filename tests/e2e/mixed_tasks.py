"""The tasks of the end-to-end tests: one for each way to end. Each start is written to a ledger outside the queue.

Imported by real workers (from a copy in a folder of the test's own); the environment says where database and ledger are.
"""

import asyncio
import os
import signal
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from horsies import AppConfig, Err, Horsies, Ok, RecoveryConfig, RetryPolicy, TaskError, TaskResult

app = Horsies(
    AppConfig(
        recovery=RecoveryConfig(
            running_stale_threshold_ms=int(os.environ.get("TEST_STALE_MS", "300000")),
            runner_heartbeat_interval_ms=int(os.environ.get("TEST_HEARTBEAT_MS", "30000")),
            claimer_heartbeat_interval_ms=int(os.environ.get("TEST_HEARTBEAT_MS", "30000")),
            check_interval_ms=int(os.environ.get("TEST_CHECK_MS", "30000")),
        ),
        exception_mapper={LookupError: "NOT_THERE"},
    )
)
app.discover_tasks(["mixed_tasks"])

type Text = TaskResult[str, TaskError]


class Order(BaseModel):
    """A model as a parameter and as a result."""

    number: int
    lines: list[str] = []


class ShopError(TaskError):
    """An error type of the user's own."""

    shop: str = "main"


def note(key: str) -> None:
    """Append a line to the ledger: one write, so lines of many processes do not mix."""
    path = os.environ.get("TEST_LEDGER")
    if path:
        with Path(path).open("ab", buffering=0) as ledger:
            ledger.write(f"{key} {os.getpid()}\n".encode())


@app.task("ok")
def ok(key: str) -> Text:
    note(key)
    return TaskResult(ok=f"done {key}")


@app.task("ok_async")
async def ok_async(key: str) -> Text:
    note(key)
    await asyncio.sleep(0.001)
    return TaskResult(ok=f"done {key}")


@app.task("fail")
def fail(key: str) -> TaskResult[str, ShopError]:
    note(key)
    return TaskResult(err=ShopError(error_code="SHOP_CLOSED", message=f"no {key}", data={"key": key}, shop="side"))


@app.task("boom")
def boom(key: str) -> Text:
    note(key)
    raise RuntimeError(f"boom {key}")


@app.task("boom_mapped")
def boom_mapped(key: str) -> Text:
    note(key)
    raise LookupError(key)


@app.task("boom_async")
async def boom_async(key: str) -> Text:
    note(key)
    await asyncio.sleep(0)
    raise SystemExit(f"leaving {key}")


@app.task("interrupt")
def interrupt(key: str) -> Text:
    note(key)
    raise KeyboardInterrupt


@app.task("wrong_type")
def wrong_type(key: str) -> TaskResult[int, TaskError]:
    note(key)
    return TaskResult(ok=f"not a number: {key}")  # type: ignore[arg-type] # the point of this task


@app.task("no_result")
def no_result(key: str) -> Text:
    note(key)
    return None  # type: ignore[return-value] # the point of this task


@app.task("unserialisable")
def unserialisable(key: str) -> TaskResult[Any, TaskError]:
    note(key)
    return TaskResult(ok=threading.Lock())


@app.task("nan")
def nan(key: str) -> TaskResult[float, TaskError]:
    note(key)
    return TaskResult(ok=float("nan"))


@app.task("exit")
def exit_now(key: str) -> Text:
    note(key)
    os._exit(7)


@app.task("kill")
def kill(key: str) -> Text:
    note(key)
    os.kill(os.getpid(), signal.SIGKILL)
    return TaskResult(ok="never")


@app.task("big")
def big(key: str, payload: str) -> Text:
    note(key)
    return TaskResult(ok=payload[::-1])


@app.task("order")
def order(request: Order, when: datetime) -> TaskResult[Order, TaskError]:
    return TaskResult(ok=Order(number=request.number + 1, lines=[*request.lines, when.astimezone(UTC).isoformat()]))


@app.task("sleep")
def sleep(key: str, seconds: float) -> Text:
    note(key)
    time.sleep(seconds)
    note(f"{key}:end")
    return TaskResult(ok=key)


@app.task("sleep_async")
async def sleep_async(key: str, seconds: float) -> Text:
    note(key)
    await asyncio.sleep(seconds)
    note(f"{key}:end")
    return TaskResult(ok=key)


@app.task("survivor", retry_policy=RetryPolicy.fixed([1], auto_retry_for=["WORKER_CRASHED"], jitter=False))
def survivor(key: str, folder: str) -> Text:
    """Die in the first attempt, succeed in the second."""
    note(key)
    mark = Path(folder, key)
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return TaskResult(ok="second time")


@app.task("sender")
def sender(key: str) -> Text:
    """Send another task and wait for it, from within a child."""
    match ok.send(f"{key}:inner"):
        case Ok(handle):
            inner = handle.get(timeout_ms=20_000)
            return TaskResult(ok=f"inner said {inner.ok_value}")
        case Err(error):
            return TaskResult(err=TaskError(error_code="NOT_SENT", message=error.message))


@app.task("spawn")
def spawn(key: str) -> TaskResult[int, TaskError]:
    """Leave a process of its own behind."""
    note(key)
    pid = os.posix_spawn("/bin/sleep", ["sleep", "600"], {})
    return TaskResult(ok=pid)


@app.task("slow", timeout_ms=300)
def slow(key: str) -> Text:
    note(key)
    time.sleep(60)
    return TaskResult(ok="never")


@app.task("slow_async", timeout_ms=300)
async def slow_async(key: str) -> Text:
    note(key)
    await asyncio.sleep(60)
    return TaskResult(ok="never")


@app.task("slow_deaf", timeout_ms=300)
async def slow_deaf(key: str) -> Text:
    """Hold the loop, deaf to being cancelled."""
    note(key)
    time.sleep(60)  # noqa: ASYNC251 - the point of this task
    return TaskResult(ok="never")


@app.task("slow_retried", timeout_ms=300, retry_policy=RetryPolicy.fixed([1], auto_retry_for=["TASK_TIMEOUT"]))
def slow_retried(key: str, folder: str) -> Text:
    """Too slow in the first attempt."""
    mark = Path(folder, key)
    if not mark.exists():
        mark.touch()
        time.sleep(60)
    return TaskResult(ok="second time")
