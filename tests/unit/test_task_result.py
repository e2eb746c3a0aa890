"""`TaskResult` and `TaskError` themselves; test_codec.py tests their encoding."""

import copy
import json
import pickle
import re
from dataclasses import FrozenInstanceError
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from horsies.codes import BUILT_IN_CODES, OperationalErrorCode
from horsies.task_result import TaskError, TaskResult, describe_exception


class OwnCode(StrEnum):
    LATE = "LATE"


class PaymentError(TaskError):
    amount: int


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def test_a_success_may_be_none() -> None:
    result = TaskResult(ok=None)
    assert (result.is_ok(), result.is_err(), result.ok, result.err) == (True, False, None, None)
    assert result.ok_value is None
    assert result.unwrap() is None
    with pytest.raises(ValueError, match="no error"):
        _ = result.err_value


def test_an_error_has_no_value() -> None:
    error = TaskError(error_code="LATE", message="too late")
    result = TaskResult(err=error)
    assert (result.is_ok(), result.is_err(), result.ok, result.err) == (False, True, None, error)
    assert result.err_value is result.unwrap_err() is error
    with pytest.raises(ValueError, match="LATE: too late"):
        _ = result.ok_value


@pytest.mark.parametrize(("sides", "said"), [({}, "neither"), ({"ok": 1, "err": TaskError()}, "both")])
def test_exactly_one_side_is_given(sides: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=f"exactly one of ok= and err=, got {said}"):
        TaskResult(**sides)


def test_only_a_task_error_is_an_error() -> None:
    with pytest.raises(TypeError, match="err= must be a TaskError, got ValueError"):
        TaskResult(err=ValueError())  # type: ignore[type-var]  # pyright: ignore[reportCallIssue, reportArgumentType]


@given(st.one_of(st.none(), st.integers(), st.text(), st.tuples(st.integers())))
def test_task_results_are_values(content: object) -> None:
    result = TaskResult(ok=content)
    assert result == TaskResult(ok=content)
    assert hash(result) == hash(TaskResult(ok=content))
    assert pickle.loads(pickle.dumps(result)) == copy.deepcopy(result) == result  # noqa: S301
    assert result != TaskResult(ok=[content])
    assert result != content


def test_errors_in_results_are_values_too() -> None:
    result = TaskResult(err=PaymentError(error_code="X", amount=3))
    assert result == pickle.loads(pickle.dumps(result)) == copy.deepcopy(result)  # noqa: S301
    assert hash(result) == hash(TaskResult(err=PaymentError(error_code="X", amount=3)))
    assert result != TaskResult(err=TaskError(error_code="X"))
    assert result != TaskResult(ok=None)
    with pytest.raises(TypeError, match="unhashable"):
        hash(TaskResult(ok=[]))


def test_task_results_are_frozen_and_show_how_they_are_made() -> None:
    result = TaskResult(ok=[1])
    for name in ("_ok", "ok", "other"):
        with pytest.raises(FrozenInstanceError):
            setattr(result, name, 2)
    with pytest.raises(FrozenInstanceError):
        del result._ok  # pyright: ignore[reportPrivateUsage]
    assert repr(result) == "TaskResult(ok=[1])"
    assert repr(TaskResult(err=TaskError(message="m"))).startswith(
        "TaskResult(err=TaskError(error_code=None, message='m'"
    )


@pytest.mark.parametrize("text", BUILT_IN_CODES)
def test_reserved_strings_are_refused_and_the_member_is_named(text: str) -> None:
    member = BUILT_IN_CODES[text]
    assert TaskError(error_code=member).error_code is member
    with pytest.raises(ValueError, match=rf"pass {type(member).__name__}\.{text} instead of the string"):
        TaskError(error_code=text)


def test_a_users_own_enum_is_refused_as_it_would_come_back_as_a_string() -> None:
    with pytest.raises(ValueError, match="would be read back as a string"):
        TaskError(error_code=OwnCode.LATE)


@pytest.mark.parametrize("code", ["LATE", "late", "a b", "", "Ünïcode", None])
def test_other_codes_belong_to_the_program(code: str | None) -> None:
    assert TaskError(error_code=code).error_code == code


@pytest.mark.parametrize("code", [3, b"X", ["X"], object()])
def test_a_code_is_text(code: Any) -> None:
    with pytest.raises(ValueError, match="error_code must be a string"):
        TaskError(error_code=code)


def test_unknown_fields_are_refused() -> None:
    with pytest.raises(ValidationError, match="error_cod"):
        TaskError(error_cod="X")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def test_an_exception_is_kept_as_text() -> None:
    def fail() -> None:
        msg = "no\ud800"
        raise KeyError(msg)

    with pytest.raises(KeyError) as caught:
        fail()
    record = TaskError(exception=caught.value).exception
    assert isinstance(record, dict)
    assert (record["type"], record["message"]) == ("KeyError", r"'no\ud800'")
    assert "in fail" in record["traceback"]
    assert TaskError(exception=record).exception == record


CALL = "def call(*inner):\n    if not inner:\n        raise ValueError\n    inner[0](*inner[1:])\n"


@pytest.mark.parametrize(
    ("modules", "kept"),
    [
        (["horsies.worker.runtime.executor", "shop", "horsies.app"], ["shop", "horsies.app"]),
        (["shop", "horsies.app"], ["shop", "horsies.app"]),
        (["horsies.worker.runtime.executor", "pydantic.main"], ["horsies.worker.runtime.executor", "pydantic.main"]),
    ],
)
def test_frames_of_horsies_above_the_user_s_are_left_out(modules: list[str], kept: list[str]) -> None:
    calls: list[Any] = []
    for module in modules:
        space: dict[str, Any] = {"__name__": module}
        exec(compile(CALL, f"<{module}>", "exec"), space)  # noqa: S102 - defines functions in modules with these names
        calls.append(space["call"])
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - it has no message
        calls[0](*calls[1:])
    behind_this_test = caught.value.__traceback__ and caught.value.__traceback__.tb_next
    record = describe_exception(caught.value.with_traceback(behind_this_test))
    assert re.findall(r'File "<(.*)>"', record["traceback"]) == kept


def test_classes_outside_builtins_are_named_with_their_module_and_may_fail_to_print() -> None:
    record = describe_exception(UnprintableError())
    assert record["type"].endswith("test_task_result.UnprintableError")
    assert record["message"] == "<__str__ raised RuntimeError>"


def test_a_dump_gives_plain_text_for_codes() -> None:
    error = TaskError(error_code=OperationalErrorCode.BROKER_ERROR)
    assert json.loads(error.model_dump_json())["error_code"] == "BROKER_ERROR"
    assert error.model_dump()["error_code"] is OperationalErrorCode.BROKER_ERROR
    assert TaskError.model_validate_json(error.model_dump_json()) == error


@pytest.mark.parametrize("data", [None, {"a": [1]}, {1, 2}, float("nan"), "\ud800", object(), b"\xff"])
def test_the_librarys_own_errors_can_always_be_written(data: Any) -> None:
    error = TaskError(error_code=OperationalErrorCode.TASK_EXCEPTION, message="a\ud800\0b", data=data)
    written = json.loads(error.to_json())
    assert (written["error_code"], written["message"]) == ("TASK_EXCEPTION", "a\\ud800\0b")
    assert TaskError.model_validate_json(error.to_json()).error_code is OperationalErrorCode.TASK_EXCEPTION
