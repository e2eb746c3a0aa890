"""The app whose tests tests/testing runs. Its URL leads nowhere: no test may use it."""

import asyncio
import os
import signal
import sys
import threading
from dataclasses import dataclass
from datetime import time
from pathlib import Path
from typing import Any

import psycopg
from pydantic import BaseModel

from horsies import (
    AppConfig,
    CurrentTask,
    DailySchedule,
    Horsies,
    PostgresConfig,
    RetryPolicy,
    ScheduleConfig,
    TaskError,
    TaskResult,
    TaskSchedule,
    current_task,
)

NOWHERE = "postgresql://nobody:pw-of-nowhere@127.0.0.1:1/nowhere"

app = Horsies(AppConfig(broker=PostgresConfig(database_url=NOWHERE)))
planned = Horsies(
    AppConfig(
        broker=PostgresConfig(database_url=NOWHERE),
        schedule=ScheduleConfig(
            schedules=[TaskSchedule(name="nightly", task_name="report", pattern=DailySchedule(time(3)))]
        ),
    )
)


class Address(BaseModel):
    city: str
    street: str


@dataclass
class Order:
    number: int
    items: list[str]


charged: list[int] = []
seen: dict[str, Any] = {}


@app.task("add")
def add(a: int, b: int = 1) -> TaskResult[int, TaskError]:
    return TaskResult(ok=a + b)


@app.task("add_async")
async def add_async(a: int, b: int = 1) -> TaskResult[int, TaskError]:
    seen["loop"] = asyncio.get_running_loop()
    await asyncio.sleep(0)
    return TaskResult(ok=a + b)


@app.task("double")
def double(before: TaskResult[int, TaskError]) -> TaskResult[int, TaskError]:
    return TaskResult(ok=2 * before.unwrap())


@app.task("send_email")
def send_email(to: str, subject: str = "Hello", headers: dict[str, str] | None = None) -> TaskResult[None, TaskError]:
    return TaskResult(ok=None)


@app.task("ship")
def ship(order: Order, address: Address, note: str = "") -> TaskResult[str, TaskError]:
    send_email.send(f"order-{order.number}@example.org", subject="Shipped").unwrap()
    return TaskResult(ok=address.city)


@app.task("look_around")
def look_around() -> TaskResult[int, TaskError]:
    seen["thread"] = threading.get_ident()
    task = current_task()
    assert isinstance(task, CurrentTask)
    return TaskResult(ok=os.getpid())


@app.task("fails_twice", retry_policy=RetryPolicy.fixed([60, 3600], auto_retry_for=["UNAVAILABLE"], jitter=False))
def fails_twice() -> TaskResult[int, TaskError]:
    task = current_task()
    assert task is not None
    if task.attempt < 3:
        return TaskResult(err=TaskError(error_code="UNAVAILABLE", message="try again"))
    return TaskResult(ok=task.attempt)


@planned.task("report")
def report() -> TaskResult[None, TaskError]:
    return TaskResult(ok=None)


@app.task("slow", timeout_ms=100)
def slow(seconds: float) -> TaskResult[None, TaskError]:
    threading.Event().wait(seconds)
    return TaskResult(ok=None)


@app.task("chain")
def chain(left: int) -> TaskResult[None, TaskError]:
    if left:
        chain.send(left - 1).unwrap()
    return TaskResult(ok=None)


@app.task("divide")
def divide(by: int) -> TaskResult[int, TaskError]:
    return TaskResult(ok=1 // by)


@app.task("leave")
def leave(how: str) -> TaskResult[None, TaskError]:
    match how:
        case "_exit":
            os._exit(3)
        case "kill":
            os.kill(os.getpid(), signal.SIGTERM)
        case "raise_signal":
            signal.raise_signal(signal.SIGTERM)
        case "exit":
            sys.exit(3)
        case _:
            raise KeyboardInterrupt
    return TaskResult(ok=None)


_AGAIN = RetryPolicy.fixed([1], auto_retry_for=["WORKER_CRASHED"], jitter=False)


@app.task("charge", retry_policy=_AGAIN)
def charge(amount: int) -> TaskResult[None, TaskError]:
    """Charge again whenever an attempt is repeated: it is not idempotent."""
    charged.append(amount)
    return TaskResult(ok=None)


@app.task("charge_once", retry_policy=_AGAIN, transactional=True)
def charge_once(connection: psycopg.Connection, amount: int) -> TaskResult[None, TaskError]:
    connection.execute("insert into charges (amount) values (%s)", (amount,))
    return TaskResult(ok=None)


@app.task("write_pid")
def write_pid(file: str) -> TaskResult[None, TaskError]:
    Path(file).write_text(str(os.getpid()))
    return TaskResult(ok=None)
