"""`Registry`: a name belongs to one place in the source."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from horsies.codec.signature import SignatureCodec, function_location
from horsies.codec.wire import ResultCodec
from horsies.errors import ErrorCode, HorsiesError, TaskDefinitionError
from horsies.task_result import TaskError, TaskResult
from horsies.tasks.registry import Registry, TaskDefinition


def one() -> TaskResult[int, TaskError]:
    return TaskResult(ok=1)


def two() -> TaskResult[int, TaskError]:
    return TaskResult(ok=2)


def definition(name: str, fn: Callable[..., Any]) -> TaskDefinition:
    return TaskDefinition(
        name=name,
        fn=fn,
        is_async=False,
        signature=SignatureCodec(fn),
        result=ResultCodec.of(fn),
        location=function_location(fn),
    )


def test_tasks_are_found_by_name() -> None:
    registry = Registry()
    first, second = definition("one", one), definition("another", two)
    registry.add(first)
    registry.add(second)
    assert (registry.get("one"), registry.get("another")) == (first, second)
    assert registry.names == ["another", "one"]
    assert "one" in registry
    assert "two" not in registry


def test_a_name_is_taken_once() -> None:
    registry = Registry()
    registry.add(definition("task", one))
    with pytest.raises(TaskDefinitionError, match="two tasks named 'task'") as caught:
        registry.add(definition("task", two))
    error = caught.value
    assert error.code is ErrorCode.TASK_DUPLICATE_NAME
    assert error.location == function_location(two)
    assert f"one() at {function_location(one)}" in error.notes[0]
    assert registry.get("task").fn is one


def load(path: Path, name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_one_file_under_two_module_names_is_no_duplicate(tmp_path: Path) -> None:
    path = tmp_path / "tasks.py"
    path.write_text(
        "from horsies.task_result import TaskError, TaskResult\n"
        "def work() -> TaskResult[int, TaskError]:\n    return TaskResult(ok=1)\n"
    )
    registry = Registry()
    for name in ("__main__x", "tasks_x"):
        registry.add(definition("work", load(path, name).work))
    assert registry.get("work").fn.__module__ == "tasks_x"


def test_an_unknown_name_gets_a_suggestion() -> None:
    registry = Registry()
    registry.add(definition("add_numbers", one))
    with pytest.raises(HorsiesError, match="no task named 'add_number'") as caught:
        registry.get("add_number")
    assert caught.value.code is ErrorCode.TASK_NOT_REGISTERED
    assert caught.value.help_text == "did you mean 'add_numbers'?"


def test_an_unknown_name_without_a_near_one_points_at_discovery() -> None:
    with pytest.raises(HorsiesError, match="no task named 'x'") as caught:
        Registry().get("x")
    assert "discover_tasks" in str(caught.value.help_text)
    assert caught.value.notes == ("registered tasks: none",)
