"""The tasks of the end-to-end tests, one for each way to end. Each start is written to a ledger outside the queue.

Real workers import it from a copy in the folder of the test, and the test imports it as well. Environment variables
name the database, the ledger and the thresholds of workers.
"""

import asyncio
import ctypes
import os
import signal
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from horsies import (
    AppConfig,
    CronSchedule,
    Err,
    Horsies,
    Ok,
    PostgresConfig,
    RecoveryConfig,
    RetryPolicy,
    ScheduleConfig,
    TaskError,
    TaskResult,
    TaskSchedule,
    WorkerResilienceConfig,
)


def _ms(name: str, default: int) -> int:
    return int(os.environ.get(f"TEST_{name}_MS", default))


app = Horsies(
    AppConfig(
        broker=PostgresConfig(
            database_url=os.environ.get("HORSIES_DATABASE_URL"),
            session_database_url=os.environ.get("TEST_SESSION_URL"),
            pgbouncer_transaction_mode=os.environ.get("TEST_POOL_MODE") == "transaction",
            schema=os.environ.get("HORSIES_TEST_SCHEMA", "horsies"),
        ),
        recovery=RecoveryConfig(
            running_stale_threshold_ms=_ms("STALE", 300_000),
            runner_heartbeat_interval_ms=_ms("HEARTBEAT", 30_000),
            claimer_heartbeat_interval_ms=_ms("HEARTBEAT", 30_000),
            check_interval_ms=_ms("CHECK", 30_000),
        ),
        resilience=WorkerResilienceConfig(
            db_retry_initial_ms=100,
            db_retry_max_ms=_ms("RECONNECT", 500),
            db_retry_max_attempts=int(os.environ.get("TEST_DB_ATTEMPTS", "0")),
            notify_poll_interval_ms=_ms("POLL", 5_000),
        ),
        exception_mapper={LookupError: "NOT_THERE"},
        schedule=ScheduleConfig(  # a scheduler refuses an app without schedules; this one sends nothing
            schedules=[
                TaskSchedule(
                    name="never",
                    task_name="ok",
                    args=("scheduled",),
                    pattern=CronSchedule("0 0 29 2 *"),
                    enabled=False,
                )
            ]
        ),
    )
)
app.discover_tasks(["mixed_tasks"])

AFTER_CRASH = RetryPolicy.fixed([1], auto_retry_for=["WORKER_CRASHED"], jitter=False)

type Text = TaskResult[str, TaskError]


class Order(BaseModel):
    """A model as a parameter and as a result."""

    number: int
    lines: list[str] = []


class ShopError(TaskError):
    """An error type that the user defines."""

    shop: str = "main"


def note(key: str) -> None:
    """Append a line to the ledger in a single write, so that lines of several processes do not mix."""
    path = os.environ.get("TEST_LEDGER")
    if path:
        with Path(path).open("ab", buffering=0) as ledger:
            ledger.write(f"{key} {os.getpid()}\n".encode())


@app.task("large_result")
def large_result(size: int) -> Text:
    return TaskResult(ok="x" * size)


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


@app.task("late_payment", retry_policy=RetryPolicy.fixed([0.01], auto_retry_for=["PAYMENT_LATE"], jitter=False))
def late_payment(key: str) -> Text:
    note(key)
    data = {"due": datetime(2026, 3, 1, tzinfo=UTC), "ratio": float("nan"), "lock": threading.Lock()}
    return TaskResult(err=TaskError(error_code="PAYMENT_LATE", message="no payment", data=data))


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
    raise RuntimeError(f"boom {key}")


@app.task("boom_own_mapper", exception_mapper={LookupError: "NOT_IN_SHOP"}, default_unhandled_error_code="SHOP_BROKEN")
def boom_own_mapper(key: str, kind: str) -> Text:
    note(key)
    raise {"LookupError": LookupError, "KeyError": KeyError, "OSError": OSError}[kind](key)


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


ODD: dict[str, BaseException] = {
    "dirty": ValueError("nul \0, lone \ud800"),
    "unprintable": UnprintableError(),
    "cancelled": asyncio.CancelledError("by itself"),
    "timeout": TimeoutError("raised by the task"),
    "generator exit": GeneratorExit(),
    "group": BaseExceptionGroup("two", [KeyError("one"), SystemExit("other")]),
    "memory": MemoryError(),
}


@app.task("boom_odd")
def boom_odd(key: str) -> Text:
    raise ODD[key]


@app.task("boom_odd_async")
async def boom_odd_async(key: str) -> Text:
    await asyncio.sleep(0)
    raise ODD[key]


@app.task("recurse")
def recurse(key: str) -> Text:
    return recurse(key)


@app.task("leave")
def leave(key: str) -> Text:
    note(key)
    raise SystemExit(f"leaving {key}")


@app.task("leave_async")
async def leave_async(key: str) -> Text:
    note(key)
    await asyncio.sleep(0)
    raise SystemExit(f"leaving {key}")


@app.task("interrupt")
def interrupt(key: str) -> Text:
    note(key)
    raise KeyboardInterrupt


@app.task("interrupt_async")
async def interrupt_async(key: str) -> Text:
    note(key)
    await asyncio.sleep(0)
    raise KeyboardInterrupt


@app.task("wrong_type")
def wrong_type(key: str) -> TaskResult[int, TaskError]:
    note(key)
    return TaskResult(ok=f"not a number: {key}")  # type: ignore[arg-type] # the point of this task


@app.task("no_result")
def no_result(key: str) -> Text:
    note(key)
    return None  # type: ignore[return-value] # the point of this task


@app.task("bare_value")
def bare_value(key: str) -> Text:
    note(key)
    return key  # type: ignore[return-value] # the point of this task


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


@app.task("segfault")
def segfault(key: str) -> Text:
    note(key)
    ctypes.string_at(0)
    return TaskResult(ok="never")


@app.task("exit_async")
async def exit_async(key: str) -> Text:
    note(key)
    await asyncio.sleep(0)
    os._exit(0)


@app.task("big")
def big(key: str, payload: str) -> Text:
    note(key)
    return TaskResult(ok=payload[::-1])


@app.task("order")
def order(request: Order, when: datetime) -> TaskResult[Order, TaskError]:
    return TaskResult(ok=Order(number=request.number + 1, lines=[*request.lines, when.astimezone(UTC).isoformat()]))


@app.task("measure")
def measure(value: float, unit: str = "m", *, exact: bool = False) -> TaskResult[float, TaskError]:
    return TaskResult(ok=value if exact or unit == "m" else round(value))


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


@app.task("sleep_again", retry_policy=AFTER_CRASH)
def sleep_again(key: str, seconds: float) -> Text:
    """Sleep; after a crash, the retry sleeps again."""
    note(key)
    time.sleep(seconds)
    note(f"{key}:end")
    return TaskResult(ok=key)


@app.task("wait_again", retry_policy=AFTER_CRASH)
def wait_again(key: str, gate: str) -> Text:
    """Wait until a file exists; after a crash, the retry waits again."""
    note(key)
    while not Path(gate).exists():
        time.sleep(0.02)
    note(f"{key}:end")
    return TaskResult(ok=key)


@app.task("wait_again_async", retry_policy=AFTER_CRASH)
async def wait_again_async(key: str, gate: str) -> Text:
    note(key)
    while not Path(gate).exists():  # noqa: ASYNC110, ASYNC240 - another process creates it
        await asyncio.sleep(0.02)
    note(f"{key}:end")
    return TaskResult(ok=key)


def die_once(key: str, folder: str) -> Text:
    """Die in the first attempt, succeed in the second."""
    note(key)
    mark = Path(folder, key)
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return TaskResult(ok="second time")


@app.task("survivor", retry_policy=AFTER_CRASH)
def survivor(key: str, folder: str) -> Text:
    return die_once(key, folder)


@app.task("late_survivor", retry_policy=RetryPolicy.fixed([3600], auto_retry_for=["WORKER_CRASHED"], jitter=False))
def late_survivor(key: str, folder: str) -> Text:
    return die_once(key, folder)


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
    """Start a process and leave it running."""
    note(key)
    pid = os.posix_spawn("/bin/sleep", ["sleep", "600"], os.environ)
    return TaskResult(ok=pid)


@app.task("desert")
def desert(key: str) -> Text:
    """Leave a process behind in a new session that inherited all open files, and die."""
    note(key)
    here, there = os.pipe()
    if os.fork() == 0:
        os.setsid()
        os.write(there, b"gone")
        time.sleep(60)
    os.read(here, 4)
    os._exit(9)


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


@app.task("block_loop")
async def block_loop(key: str, seconds: float) -> Text:
    note(key)
    time.sleep(seconds)  # noqa: ASYNC251 - the point of this task
    return TaskResult(ok=key)


@app.task("slow_deaf", timeout_ms=300)
async def slow_deaf(key: str) -> Text:
    """Block the event loop, so that a cancellation has no effect."""
    note(key)
    time.sleep(60)  # noqa: ASYNC251 - the point of this task
    return TaskResult(ok="never")


@app.task("slow_retried", timeout_ms=300, retry_policy=RetryPolicy.fixed([1], auto_retry_for=["TASK_TIMEOUT"]))
def slow_retried(key: str, folder: str) -> Text:
    """Exceed the time-out in the first attempt only."""
    mark = Path(folder, key)
    if not mark.exists():
        mark.touch()
        time.sleep(60)
    return TaskResult(ok="second time")


HELD: list[object] = []


@app.task("hog")
def hog(key: str, megabytes: int) -> Text:
    """Allocate memory and touch every page of it."""
    note(key)
    HELD.append(b"x" * (megabytes << 20))
    return TaskResult(ok=key)


async def _stay() -> None:
    while True:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)


@app.task("clingy")
async def clingy(key: str) -> Text:
    """Leave a task on the event loop that ignores its cancellation."""
    note(key)
    HELD.append(asyncio.create_task(_stay()))
    await asyncio.sleep(0)
    return TaskResult(ok=key)
