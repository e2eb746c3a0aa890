"""Every attempt runs in a separate context: later tasks do not see context variables that a task has set."""

from typing import Any

import pytest

from horsies import TaskError, TaskFunction, TaskResult
from tests.support.environment import Environment

CONTEXTS = """
import asyncio
import decimal
from contextvars import ContextVar

from pydantic import BaseModel, field_validator

from horsies import TaskError, TaskResult
from mixed_tasks import app

tenant: ContextVar[str] = ContextVar("tenant", default="nobody")
region: ContextVar[str] = ContextVar("region", default="nowhere")
decimal.getcontext().prec = 11


@app.on_child_process_start
def begin() -> None:
    region.set("east")
    decimal.getcontext().rounding = decimal.ROUND_UP


def seen_and_changed(mark: str) -> list[object]:
    context = decimal.getcontext()
    seen = [tenant.get(), region.get(), context.prec, context.rounding, bool(context.flags[decimal.Inexact])]
    tenant.set(mark)
    region.set(mark)
    context.prec = 3
    context.rounding = decimal.ROUND_DOWN
    decimal.Decimal(1) / decimal.Decimal(3)
    return seen


@app.task("look")
def look(mark: str) -> TaskResult[list[object], TaskError]:
    return TaskResult(ok=seen_and_changed(mark))


@app.task("look_async")
async def look_async(mark: str) -> TaskResult[list[object], TaskError]:
    seen = seen_and_changed(mark)
    await asyncio.sleep(0.01)
    assert tenant.get() == mark and decimal.getcontext().prec == 3
    return TaskResult(ok=seen)


class Marked(BaseModel):
    mark: str

    @field_validator("mark")
    @classmethod
    def leave_a_mark(cls, mark: str) -> str:
        tenant.set(mark)
        return mark


@app.task("look_validated")
def look_validated(marked: Marked) -> TaskResult[list[object], TaskError]:
    return TaskResult(ok=[tenant.get()])
"""
CLEAN = ["nobody", "east", 11, "ROUND_UP", False]


@pytest.mark.parametrize("options", [[], ["--concurrency=4"], ["--start-method=spawn"]], ids=" ".join)
def test_no_task_sees_variables_that_another_one_has_set(environment: Environment, options: list[str]) -> None:
    (environment.folder / "contexts.py").write_text(CONTEXTS)
    worker = environment.worker("--processes=1", *options, app="contexts:app")
    worker.wait_until_ready()
    for number in range(8):
        for name in ("look", "look_async"):
            assert marked(environment, name, f"{name}-{number}") == CLEAN, (name, number)
        assert validated(environment, "own") == ["own"]
    assert worker.stop() == 0


@pytest.mark.parametrize("name", ["look", "look_async"])
def test_tasks_that_run_at_the_same_time_do_not_share_a_context(environment: Environment, name: str) -> None:
    (environment.folder / "contexts.py").write_text(CONTEXTS)
    task = declare(environment, name)
    handles = [task.send(f"mark-{number}").unwrap() for number in range(40)]
    worker = environment.worker("--processes=1", "--concurrency=8", app="contexts:app")
    assert [handle.get(timeout_ms=40_000).ok_value for handle in handles] == [CLEAN] * 40
    assert worker.stop() == 0


def declare(environment: Environment, name: str) -> TaskFunction[[str], list[Any], Any]:
    """Declare a task that only the worker's module defines."""

    def stand_in(mark: str) -> TaskResult[list[Any], TaskError]:
        raise AssertionError(mark)

    return environment.tasks.app.task(name)(stand_in)


def marked(environment: Environment, name: str, mark: str) -> list[Any]:
    return declare(environment, name).send(mark).unwrap().get(timeout_ms=20_000).ok_value


def validated(environment: Environment, mark: str) -> list[Any]:
    def stand_in(marked: dict[str, str]) -> TaskResult[list[Any], TaskError]:
        raise AssertionError(marked)

    task = environment.tasks.app.task("look_validated")(stand_in)
    return task.send({"mark": mark}).unwrap().get(timeout_ms=20_000).ok_value
