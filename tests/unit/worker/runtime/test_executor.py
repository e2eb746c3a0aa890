"""Reports of attempts: stopped ones, delays of retries, and answers that postpone the task."""

import asyncio
from collections.abc import Callable, Generator, Iterator
from typing import cast
from uuid import uuid4

import pytest
from freezegun import freeze_time

from horsies import (
    AppConfig,
    AttemptOutcome,
    CurrentTask,
    Horsies,
    OutcomeCode,
    PostgresConfig,
    RateLimited,
    RetryPolicy,
    Snooze,
    TaskAttemptOutcome,
    TaskError,
    TaskResult,
)
from horsies.db.queries.worker import Fence
from horsies.postponement import PostponeScope
from horsies.worker.ipc import Job, StopCause, decode_report
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


class QuotaError(TaskError):
    """An error class that answers need not have."""

    service: str = "mail"


def raised(answer: RateLimited | Snooze) -> Callable[[], TaskResult[int, QuotaError]]:
    def raises() -> TaskResult[int, QuotaError]:
        raise answer

    return raises


@pytest.mark.parametrize(
    ("answer", "code", "seconds", "scope"),
    [
        (lambda: TaskResult(err=RateLimited(2)), "RATE_LIMITED", 2, "key"),
        (lambda: TaskResult(err=RateLimited(2, "queue")), "RATE_LIMITED", 2, "queue"),
        (lambda: TaskResult(err=Snooze(3)), "SNOOZED", 3, "task"),
        (lambda: RateLimited(4, "task"), "RATE_LIMITED", 4, "task"),
        (raised(RateLimited(5)), "RATE_LIMITED", 5, "key"),
        (raised(Snooze(6)), "SNOOZED", 6, "task"),
        (lambda: TaskResult(err=QuotaError(error_code=OutcomeCode.RATE_LIMITED)), "RATE_LIMITED", 30, "key"),
    ],
)
@pytest.mark.parametrize("is_async", [False, True])
def test_an_answer_postpones_the_task_whatever_error_class_it_declares(
    answer: Callable[[], TaskResult[int, QuotaError]],
    code: str,
    seconds: float,
    scope: str,
    is_async: bool,  # noqa: FBT001
) -> None:
    app = Horsies(AppConfig(broker=PostgresConfig(database_url="postgresql://h/db"), exception_mapper={Exception: "X"}))
    seen: list[AttemptOutcome] = []

    @app.around_task
    def note(_task: CurrentTask) -> Generator[None, AttemptOutcome]:
        seen.append((yield))

    policy = RetryPolicy.fixed([1], auto_retry_for=["RATE_LIMITED", "SNOOZED"])

    @app.task("def", retry_policy=policy)
    def in_thread() -> TaskResult[int, QuotaError]:
        return answer()

    @app.task("async def", retry_policy=policy)
    async def on_loop() -> TaskResult[int, QuotaError]:
        return answer()

    executor = Executor(app.registry, {Exception: "X"}, "UNHANDLED_EXCEPTION", app.producer.runner)
    job = Job(Fence(uuid4(), 1), 1, "async def" if is_async else "def", "default", b"{}")
    executor.attempts.add(job)
    call = ReadyCall(job, app.registry.get(job.task_name), (), {})
    report = asyncio.run(executor.run_async(call)) if is_async else executor.run(call)
    assert (report.ok, report.error_code) == (False, code)
    assert (report.retry_after, report.postponed) == (seconds, PostponeScope(scope))
    assert decode_report(report.encode(), 7, "host:1/0") == report.to_outcome(7, "host:1/0")
    [outcome] = seen
    assert (outcome.status, outcome.error_code, outcome.may_retry) == (TaskAttemptOutcome.POSTPONED, code, False)
    assert outcome.error is not None


def test_an_attempt_that_was_stopped_is_not_postponed() -> None:
    app = Horsies(AppConfig(broker=PostgresConfig(database_url="postgresql://h/db")))

    @app.task("call")
    def call_api() -> TaskResult[int, TaskError]:
        return TaskResult(err=RateLimited(5))

    executor = Executor(app.registry, {}, "UNHANDLED_EXCEPTION", app.producer.runner)
    job = Job(Fence(uuid4(), 1), 1, "call", "default", b"{}")
    executor.attempts.add(job)
    attempt = executor.attempts[job.fence]
    assert attempt.begin(cast("CurrentTask", None))
    executor.attempts.stop(job.fence, StopCause.CANCELLED)
    report = executor.conclude_attempt(ReadyCall(job, app.registry.get("call"), (), {}), attempt, call_api())
    assert (report.error_code, report.postponed) == ("TASK_CANCELLED", None)
