"""Attempts that were stopped before their code was called."""

import asyncio
from collections.abc import Iterator
from typing import cast
from uuid import uuid4

import pytest
from freezegun import freeze_time

from horsies import AppConfig, CurrentTask, Horsies, PostgresConfig, TaskError, TaskResult
from horsies.db.queries.worker import Fence
from horsies.worker.ipc import Job, StopCause
from horsies.worker.runtime.executor import Executor
from horsies.worker.runtime.reports import ReadyCall
from horsies.worker.runtime.stopping import RunningAttempts


@pytest.mark.parametrize("name", ["def", "async def"])
def test_hooks_see_an_attempt_that_was_stopped_before_its_code_was_called(name: str) -> None:
    app = Horsies(AppConfig(broker=PostgresConfig(database_url="postgresql://h/db")))
    seen: list[object] = []

    @app.around_task
    def note(task: CurrentTask) -> Iterator[None]:
        seen.append(task.name)
        outcome = yield
        seen.append(outcome.error_code)

    @app.task("def")
    def in_thread() -> TaskResult[None, TaskError]:
        seen.append("called")
        return TaskResult(ok=None)

    @app.task("async def")
    async def on_loop() -> TaskResult[None, TaskError]:
        seen.append("called")
        return TaskResult(ok=None)

    executor = Executor(app.registry, {}, "UNHANDLED_EXCEPTION", app.producer.runner)
    job = Job(Fence(uuid4(), 1), 1, name, "default", b"{}")
    executor.attempts.add(job)
    executor.attempts.stop(job.fence, StopCause.CANCELLED)
    call = ReadyCall(job, app.registry.get(name), (), {})
    report = asyncio.run(executor.run_async(call)) if call.definition.is_async else executor.run(call)
    assert report.error_code == "TASK_CANCELLED"
    assert seen == [name, "TASK_CANCELLED"]


def test_a_task_that_freezes_time_does_not_end_concurrent_tasks() -> None:
    attempts = RunningAttempts()
    job = Job(Fence(uuid4(), 1), 1, "add", "default", b"{}", timeout_ms=60_000)
    attempts.add(job)
    assert attempts[job.fence].begin(cast("CurrentTask", None))
    with freeze_time("2040-01-01"):
        assert attempts[job.fence].end() is None


DAY_S = 86_400.0


@pytest.mark.parametrize(
    ("wanted", "is_obeyed"),
    [(0, True), (2 * DAY_S, True), (30 * DAY_S, True), (30 * DAY_S + 1, False), (-1, False)]
    + [(odd, False) for odd in (True, "120", None, float("nan"), float("inf"), [1], 10**400)],
)
def test_a_retry_after_is_obeyed_up_to_30_days_and_otherwise_the_error_says_why_not(
    wanted: object,
    is_obeyed: bool,  # noqa: FBT001
) -> None:
    app = Horsies(AppConfig(broker=PostgresConfig(database_url="postgresql://h/db")))

    @app.task("call")
    def quota() -> TaskResult[None, TaskError]:
        return TaskResult(err=TaskError(error_code="QUOTA", message="come back later", data={"retry_after": wanted}))

    executor = Executor(app.registry, {}, "UNHANDLED_EXCEPTION", app.producer.runner)
    call = ReadyCall(Job(Fence(uuid4(), 1), 1, "call", "default", b"{}"), app.registry.get("call"), (), {})
    report = executor.conclude(call, quota())
    assert report.error_code == "QUOTA"
    assert report.retry_after == (float(cast("float", wanted)) if is_obeyed else None)
    assert (b"retry_after was ignored" in report.result) is not is_obeyed
    assert b"come back later" in report.result
