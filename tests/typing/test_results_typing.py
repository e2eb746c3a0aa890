"""What type checkers make of results: inferred types here, refusals in `refused.py` text below."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, assert_type

import pytest

from horsies.codes import OperationalErrorCode
from horsies.config.retry import RetryPolicy
from horsies.result import Err, Ok, Result, is_err, is_ok
from horsies.task_result import TaskError, TaskResult

ROOT = Path(__file__).parents[2]


class PaymentError(TaskError):
    amount: int = 0


def halve(number: int) -> Result[int, str]:
    return Ok(number // 2) if number % 2 == 0 else Err("odd")


def halve_the_length(text: str) -> Result[int, str]:
    return halve(len(text))


def returns_ok() -> TaskResult[int, TaskError]:
    return TaskResult(ok=1)


def returns_err() -> TaskResult[int, TaskError]:
    return TaskResult(err=TaskError(error_code="NO", message="m", data={"a": 1}, exception=ValueError()))


def returns_none() -> TaskResult[None, TaskError]:
    return TaskResult(ok=None)


def returns_own_error(*, fail: bool) -> TaskResult[list[str], PaymentError]:
    return TaskResult(err=PaymentError(error_code="X", amount=3)) if fail else TaskResult(ok=["a"])


async def returns_async() -> TaskResult[dict[str, int]]:
    return TaskResult(ok={"a": 1})


def test_match_narrows_a_result() -> None:
    match halve(4):
        case Ok(value):
            assert_type(value, int)
        case Err(error):
            assert_type(error, str)
            pytest.fail("4 is even")


def test_guards_narrow_a_result() -> None:
    result = halve(3)
    if is_ok(result):
        assert_type(result, Ok[int])
    else:
        assert_type(result, Err[str])
    if is_err(result):
        assert_type(result, Err[str])
        assert_type(result.error, str)


def test_both_sides_have_typed_members() -> None:
    even = halve(4)
    assert_type(even.is_ok(), bool)
    assert_type(even.ok_value, int)
    assert_type(even.unwrap(), int)
    assert_type(halve(3).err_value, str)
    assert_type(halve(3).unwrap_err(), str)


def test_combinators_are_typed() -> None:
    even = halve(4)
    assert_type(even.map(str), Ok[str] | Err[str])
    assert_type(even.map_err(len), Ok[int] | Err[int])
    assert_type(even.and_then(halve), Ok[int] | Err[str])
    assert_type(even.unwrap_or(None), int | None)
    assert_type(even.unwrap_or_else(len), int)
    assert_type(even.ok(), int | None)
    assert_type(even.err(), str | None)
    assert_type(even.expect("must be even"), int)
    assert_type(even.or_else(lambda reason: Ok(len(reason))), Ok[int])
    assert_type(even.or_else(halve_the_length), Ok[int] | Err[str])
    assert_type(even.map_or(None, str), str | None)
    assert_type(even.inspect(print), Ok[int] | Err[str])
    assert_type(even.inspect_err(print), Ok[int] | Err[str])


def test_task_results_are_typed() -> None:
    result = returns_own_error(fail=False)
    assert_type(result.ok, list[str] | None)
    assert_type(result.ok_value, list[str])
    assert_type(result.unwrap(), list[str])
    assert_type(result.err, PaymentError | None)
    failed = returns_own_error(fail=True)
    assert_type(failed.err_value, PaymentError)
    assert_type(failed.err_value.amount, int)


def test_the_error_type_is_inferred_as_its_default() -> None:
    assert_type(TaskResult(ok=1), TaskResult[int, TaskError])
    assert returns_none().is_ok()
    assert returns_err().is_err()


def test_results_are_covariant() -> None:
    narrow: TaskResult[bool, PaymentError] = TaskResult(ok=True)
    wide: TaskResult[int, TaskError] = narrow
    good: Ok[bool] = Ok(value=True)
    wider: Result[int, str] = good
    calls: Callable[[], TaskResult[object, TaskError]] = returns_ok
    assert (wide.ok_value, wider.unwrap(), calls().is_ok()) == (True, True, True)


def test_policies_take_lists() -> None:
    policy = RetryPolicy(intervals=[1, 2, 3], auto_retry_for=[OperationalErrorCode.WORKER_CRASHED, "MY_CODE"])
    assert_type(RetryPolicy.fixed([1], auto_retry_for=["A"]), RetryPolicy)
    assert policy.max_retries == 3


REFUSED = """\
from horsies.task_result import TaskError, TaskResult
from horsies.result import Err, Ok, Result

def wrong_value() -> TaskResult[int, TaskError]:
    return TaskResult(ok="x")  # refused

def wrong_error() -> TaskResult[int, TaskError]:
    return TaskResult(err="x")  # refused

class Own(TaskError):
    pass

def other_error() -> TaskResult[int, Own]:
    return TaskResult(err=TaskError())  # refused

def both() -> TaskResult[int, TaskError]:
    return TaskResult(ok=1, err=TaskError())  # refused

def neither() -> TaskResult[int, TaskError]:
    return TaskResult()  # refused

def plain() -> Result[int, str]:
    return Ok("x")  # refused

def misspelt() -> TaskError:
    return TaskError(error_cod="X")  # refused

halve = Ok(4) if len(__file__) else Err("odd")
halve.expect(5)  # refused
halve.inspect(len)  # refused
halve.inspect_err(abs)  # refused
halve.or_else(abs)  # refused
halve.map_or(None, len)  # refused

def fine() -> Result[int, str]:
    return Err("x")
"""
EXPECTED = {number for number, line in enumerate(REFUSED.splitlines(), 1) if line.endswith("# refused")}


@pytest.fixture
def refused(tmp_path: Path) -> Path:
    path = tmp_path / "refused.py"
    path.write_text(REFUSED)
    (tmp_path / "pyrightconfig.json").write_text(json.dumps({"typeCheckingMode": "strict", "extraPaths": [str(ROOT)]}))
    return path


def test_pyright_refuses_wrong_results(refused: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pyright",
        "--outputjson",
        "-p",
        str(refused.parent),
        "--pythonpath",
        sys.executable,
    ]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    found: list[dict[str, Any]] = json.loads(answer.stdout)["generalDiagnostics"]
    assert {each["range"]["start"]["line"] + 1 for each in found} == EXPECTED


def test_mypy_refuses_wrong_results(refused: Path) -> None:
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--follow-imports=silent", str(refused)]
    command += ["--cache-dir", str(refused.parent / "cache"), "--hide-error-context", "--config-file="]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, env={"MYPYPATH": str(ROOT)})
    lines = [line for line in answer.stdout.splitlines() if ": error:" in line]
    assert {int(line.split(":")[1]) for line in lines} == EXPECTED, answer.stdout
