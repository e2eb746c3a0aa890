"""Tasks that end in every way, and workflows of them: run by `drain` and by a real worker."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, cast

import psycopg

from horsies import (
    AppConfig,
    CustomQueueConfig,
    Horsies,
    PostgresConfig,
    QueueMode,
    RetryPolicy,
    TaskError,
    TaskNode,
    TaskResult,
    current_task,
)

app = Horsies(
    AppConfig(
        broker=PostgresConfig(database_url="postgresql://nobody@127.0.0.1:1/nowhere"),
        queue_mode=QueueMode.CUSTOM,
        custom_queues=[
            CustomQueueConfig(name="plain", priority=2),
            CustomQueueConfig(name="narrow", priority=1, max_concurrency=1),
        ],
        exception_mapper={KeyError: "KEY_MISSING"},
    )
)
_QUICK = RetryPolicy.fixed([0.2, 0.2], auto_retry_for=["AGAIN", "BOOM", "TASK_TIMEOUT"], jitter=False)

type Done = TaskResult[int, TaskError]


@app.task("value", queue_name="plain")
def value(number: int) -> Done:
    return TaskResult(ok=number)


@app.task("value_async", queue_name="narrow")
async def value_async(number: int) -> Done:
    await asyncio.sleep(0)
    return TaskResult(ok=number)


@app.task("ends", queue_name="plain", default_unhandled_error_code="UNKNOWN")
def ends(how: str) -> Done:
    match how:
        case "error":
            return TaskResult(err=TaskError(error_code="BROKEN", message="it is broken", data={"why": "age"}))
        case "raise":
            msg = "it raised"
            raise ValueError(msg)
        case "mapped":
            raise KeyError(how)
        case "exit":
            raise SystemExit(3)
        case "interrupt":
            raise KeyboardInterrupt
        case "wrong type":
            return TaskResult(ok=cast("int", "text"))
        case "no result":
            return cast("Done", 5)
        case _:
            return TaskResult(err=TaskError(error_code="NUL", message="with \0 inside"))


@app.task("again", queue_name="plain", retry_policy=_QUICK)
def again(until: int) -> Done:
    task = current_task()
    assert task is not None
    if task.attempt < until:
        return TaskResult(err=TaskError(error_code="AGAIN", message="not yet"))
    return TaskResult(ok=task.attempt)


@app.task("after", queue_name="plain", retry_policy=_QUICK)
def after() -> Done:
    return TaskResult(err=TaskError(error_code="AGAIN", message="later", data={"retry_after": 0.1}))


@app.task("slow", queue_name="plain", timeout_ms=150)
def slow() -> Done:
    time.sleep(0.6)
    return TaskResult(ok=1)


@app.task("slow_async", queue_name="plain", timeout_ms=150, retry_policy=_QUICK)
async def slow_async() -> Done:
    await asyncio.sleep(30)
    return TaskResult(ok=1)


@app.task("writes", queue_name="narrow", transactional=True, retry_policy=_QUICK)
def writes(connection: psycopg.Connection, number: int) -> Done:
    connection.execute("insert into written values (%s)", (number,))
    if number < 0:
        return TaskResult(err=TaskError(error_code="BOOM", message="rolled back"))
    return TaskResult(ok=number)


@app.task("total", queue_name="plain")
def total(first: Done, second: Done) -> Done:
    return TaskResult(ok=first.unwrap() + second.unwrap())


def send_everything() -> int:
    """Send tasks and a workflow that end in every way; return the number of tasks that end."""
    hours = ["error", "raise", "mapped", "exit", "interrupt", "wrong type", "no result", "nul"]
    sent: list[Any] = [ends.send(how) for how in hours]
    sent += [value.send(number) for number in range(3)]
    sent += [value_async.send(number) for number in range(3)]
    sent += [again.send(until) for until in (1, 3, 9)]
    sent += [after.send(), slow.send(), slow_async.send(), writes.send(4), writes.send(-4)]
    sent.append(value.with_options(delay=0.5).send(100))
    late = datetime.now(UTC) - timedelta(seconds=1)
    sent.append(value.with_options(good_until=late + timedelta(seconds=1.2), delay=3).send(200))
    for each in sent:
        each.unwrap()
    first = TaskNode(fn=value, kwargs={"number": 1}, node_id="first")
    failing = TaskNode(fn=ends, kwargs={"how": "error"}, node_id="failing")
    both = TaskNode(fn=total, args_from={"first": first, "second": first}, waits_for=[first], node_id="both")
    skipped = TaskNode(
        fn=total, args_from={"first": first, "second": failing}, waits_for=[first, failing], node_id="no"
    )
    nodes = [first, failing, both, skipped]
    app.workflow("mixed", nodes, output=both, definition_key="mixed.v1").start().unwrap()
    return len(sent) + 3


def start_random_workflow(seed: int) -> None:
    """Start a random graph of tasks, some of which fail."""
    random = Random(seed)  # noqa: S311 # to be repeated
    nodes: list[Any] = []
    for number in range(random.randint(1, 9)):
        before = random.sample(nodes, random.randint(0, min(number, 3)))
        join = random.choice(["all", "all", "any", "quorum"]) if before else "all"
        options: dict[str, Any] = {"waits_for": before, "node_id": f"n{number}", "join": join}
        if join == "quorum":
            options["min_success"] = random.randint(1, len(before))
        elif join == "all" and before:
            options["allow_failed_deps"] = random.random() < 0.3
        if random.random() < 0.25:
            nodes.append(TaskNode(fn=ends, kwargs={"how": "error"}, **options))
        else:
            nodes.append(TaskNode(fn=random.choice([value, value_async]), kwargs={"number": number}, **options))
    name = f"random{seed}"
    app.workflow(name, nodes, output=random.choice(nodes), definition_key=name).start().unwrap()
