"""`Unique`: its checks, and those of the option `unique` of a task."""

from typing import Any

import pytest

from horsies import AppConfig, Horsies, MultipleValidationErrors, TaskDefinitionError, TaskError, TaskResult, Unique


def build(**fields: Any) -> Unique:
    return Unique(**fields)


def test_the_defaults() -> None:
    assert Unique() == Unique(by=None, until="started", on_conflict="keep", max_wait=None)


def test_names_become_a_tuple() -> None:
    assert Unique(by=["a", "b"]) == Unique(by=("a", "b"))


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"by": "user_id"}, "by must be a tuple of names of parameters, got 'user_id'"),
        ({"by": ()}, "by must be a tuple"),
        ({"by": (1,)}, "by must be a tuple"),
        ({"until": "finished"}, "until has the value 'finished'"),
        ({"on_conflict": "ignore"}, "on_conflict has the value 'ignore'"),
        ({"max_wait": 5}, "max_wait limits how long a task is replaced"),
        ({"max_wait": -1, "on_conflict": "replace"}, "max_wait must be a number of seconds, got -1"),
        ({"max_wait": True, "on_conflict": "replace"}, "max_wait must be a number"),
        ({"max_wait": float("nan"), "on_conflict": "replace"}, "max_wait must be a number"),
        ({"max_wait": "5", "on_conflict": "replace"}, "max_wait must be a number"),
    ],
)
def test_an_invalid_field_is_named(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(TaskDefinitionError, match="invalid Unique: ") as raised:
        build(**fields)
    assert problem in str(raised.value)
    assert raised.value.code == "HRS-102"


def test_several_problems_are_raised_together() -> None:
    with pytest.raises(MultipleValidationErrors):
        build(by=(), until="x", on_conflict="y")


def pack(order_id: int, note: str = "") -> TaskResult[None, TaskError]:
    return TaskResult(ok=None)


@pytest.mark.parametrize(
    ("unique", "problem"),
    [
        (Unique(by=("order",)), "task 'pack' is unique by 'order', but has no such parameter"),
        ("order_id", "task 'pack' has unique='order_id', which is not a Unique"),
    ],
)
def test_a_task_refuses_an_unsuitable_uniqueness(unique: Any, problem: str) -> None:
    with pytest.raises(TaskDefinitionError, match=problem):
        Horsies(AppConfig()).task("pack", unique=unique)(pack)
