"""`RetryPolicy` as data, and the codes that exceptions become."""

import json
import pickle
from collections.abc import Mapping
from email.message import Message
from enum import StrEnum
from typing import Any
from urllib.error import HTTPError, URLError

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from horsies.codes import BUILT_IN_CODES, OperationalErrorCode, OutcomeCode
from horsies.config.retry import RetryPolicy, code_for_exception, validate_exception_mapper
from horsies.errors import ConfigurationError, ErrorCode, MultipleValidationErrors, TaskDefinitionError


class OwnCode(StrEnum):
    LATE = "LATE"


class LateError(TimeoutError):
    """Raised by a task."""


def test_the_defaults_are_three_growing_intervals() -> None:
    policy = RetryPolicy(auto_retry_for=["LATE", OperationalErrorCode.WORKER_CRASHED, "TASK_TIMEOUT", "LATE"])
    assert json.loads(policy.to_json()) == {
        "max_retries": 3,
        "strategy": "fixed",
        "intervals": [60.0, 300.0, 900.0],
        "jitter": True,
        "codes": ["LATE", "WORKER_CRASHED", "TASK_TIMEOUT"],
    }
    assert policy.auto_retry_for == ("LATE", OperationalErrorCode.WORKER_CRASHED, OutcomeCode.TASK_TIMEOUT)


def test_fixed_takes_the_number_of_retries_from_the_intervals() -> None:
    policy = RetryPolicy.fixed([1, 2.5], auto_retry_for=["A"], jitter=False)
    assert policy == RetryPolicy(max_retries=2, intervals=[1, 2.5], jitter=False, auto_retry_for=["A"])
    assert policy.to_json() == (
        b'{"max_retries":2,"strategy":"fixed","intervals":[1.0,2.5],"jitter":false,"codes":["A"]}'
    )


def test_exponential_has_one_base() -> None:
    policy = RetryPolicy.exponential(base_seconds=0.05, max_retries=20, auto_retry_for=["A"])
    stored = json.loads(policy.to_json())
    assert (stored["strategy"], stored["intervals"], stored["max_retries"]) == ("exponential", [0.05], 20)


def test_exponential_takes_its_base_by_position() -> None:
    policy = RetryPolicy.exponential(30, max_retries=5, auto_retry_for=["A"])
    assert policy == RetryPolicy.exponential(base_seconds=30, max_retries=5, auto_retry_for=["A"])


def test_a_longest_delay_is_part_of_what_is_stored() -> None:
    policy = RetryPolicy.exponential(30, auto_retry_for=["A"], max_delay_seconds=600)
    assert (policy.max_delay_seconds, json.loads(policy.to_json())["max_delay"]) == (600, 600)
    assert "max_delay" not in json.loads(RetryPolicy.exponential(30, auto_retry_for=["A"]).to_json())


def test_policies_are_values() -> None:
    policy = RetryPolicy(auto_retry_for=["A"])
    assert policy == pickle.loads(pickle.dumps(policy))  # noqa: S301
    assert hash(policy) == hash(RetryPolicy(auto_retry_for=["A"]))
    with pytest.raises(ValidationError, match="frozen"):
        policy.jitter = False  # type: ignore[misc]


@given(st.lists(st.floats(min_value=0.001, max_value=86400) | st.integers(1, 86400), min_size=1, max_size=20))
def test_any_intervals_in_range_are_taken(intervals: list[float]) -> None:
    assert json.loads(RetryPolicy.fixed(intervals, auto_retry_for=["A"]).to_json())["intervals"] == intervals


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "auto_retry_for: Field required"),
        ({"auto_retry_for": []}, "at least one error code"),
        ({"auto_retry_for": "LATE"}, "must be a list of error codes"),
        ({"auto_retry_for": None}, "must be a list of error codes"),
        ({"auto_retry_for": ["TimeoutError"]}, "'TimeoutError' in auto_retry_for is not an UPPER_SNAKE_CASE code"),
        ({"auto_retry_for": ["late"]}, "not an UPPER_SNAKE_CASE code"),
        ({"auto_retry_for": ["A__B"]}, "not an UPPER_SNAKE_CASE code"),
        ({"auto_retry_for": [TimeoutError]}, "not exception classes: map TimeoutError in an exception_mapper"),
        ({"auto_retry_for": [OwnCode.LATE]}, "takes error codes: strings"),
        ({"auto_retry_for": [3]}, "takes error codes: strings"),
        ({"max_retries": 0, "intervals": []}, "max_retries must be from 1 to 20, got 0"),
        ({"max_retries": 21, "intervals": [1] * 21}, "max_retries must be from 1 to 20, got 21"),
        ({"max_retries": True}, "valid integer"),
        ({"max_retries": 5}, "fixed backoff requires one interval per retry: expected 5, got 3"),
        (
            {"backoff_strategy": "exponential"},
            "exponential backoff requires exactly one interval, the base: expected 1, got 3",
        ),
        ({"backoff_strategy": "linear"}, "'fixed' or 'exponential'"),
        ({"intervals": [1, 2, 0]}, "an interval must be 1 s to 24 h (86400), got 0"),
        ({"intervals": [1, 2, -1]}, "got -1"),
        ({"intervals": [1, 2, 86401]}, "got 86401"),
        ({"intervals": [1, 2, float("nan")]}, "got nan"),
        ({"intervals": [1, 2, True]}, "got True"),
        ({"intervals": [1, 2, "3"]}, "got '3'"),
        ({"intervals": 60}, "must be a list of seconds, got 60"),
        ({"intervals": b"abc"}, "must be a list of seconds, got b'abc'"),
        ({"intervals": bytearray(b"abc")}, "must be a list of seconds"),
        ({"intervals": {1}}, "must be a list of seconds, got {1}"),
        ({"max_delay_seconds": 10**400}, f"got 1{'0' * 79}…"),
        ({"jitter": 1}, "valid boolean"),
        ({"max_delay_seconds": 60}, "max_delay_seconds applies to exponential backoff"),
        ({"max_delay_seconds": 0}, "max_delay_seconds must be at least 1 second, got 0"),
        ({"max_delay_seconds": float("inf")}, "at least 1 second, got inf"),
        ({"max_delay_seconds": 10**400}, "at least 1 second, got 1000"),
        ({"intervals": [10**400]}, "an interval must be 1 s to 24 h (86400), got 1000"),
        ({"max_delay_seconds": "60"}, "at least 1 second, got '60'"),
        (
            {"backoff_strategy": "exponential", "intervals": [60], "max_delay_seconds": 30},
            "max_delay_seconds (30) is less than the base of 60 seconds",
        ),
        ({"interval": [1]}, "Extra inputs are not permitted"),
    ],
    ids=lambda each: repr(each)[:60],
)
def test_impossible_policies_are_refused(options: dict[str, Any], said: str) -> None:
    given_options: dict[str, Any] = (
        options if "auto_retry_for" in options or not options else options | {"auto_retry_for": ["A"]}
    )
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is compared below
        RetryPolicy(**given_options)
    assert said in str(caught.value)
    assert isinstance(caught.value, TaskDefinitionError)
    assert (caught.value.code, caught.value.location and caught.value.location.file) == ("HRS-102", __file__)


def test_all_mistakes_in_a_policy_are_reported_at_once() -> None:
    with pytest.raises(MultipleValidationErrors) as caught:
        RetryPolicy(jitter=1, intervals=[0], auto_retry_for=[])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert [error.code for error in caught.value.report.errors] == ["HRS-102"] * 3


@pytest.mark.parametrize(
    ("mapper", "codes"),
    [
        ({}, []),
        ({TimeoutError: "SLOW", SystemExit: "LEFT", KeyError: "A1_B2"}, []),
        ([(TimeoutError, "SLOW")], [ErrorCode.CONFIG_INVALID_EXCEPTION_MAPPER]),
        ({"TimeoutError": "SLOW"}, [ErrorCode.CONFIG_INVALID_EXCEPTION_MAPPER]),
        ({int: "SLOW"}, [ErrorCode.CONFIG_INVALID_EXCEPTION_MAPPER]),
        ({TimeoutError(): "SLOW"}, [ErrorCode.CONFIG_INVALID_EXCEPTION_MAPPER]),
        ({TimeoutError: 3}, [ErrorCode.CONFIG_INVALID_EXCEPTION_MAPPER]),
        ({TimeoutError: ""}, [ErrorCode.CONFIG_INVALID_EXCEPTION_MAPPER]),
        ({TimeoutError: "slow"}, [ErrorCode.CONFIG_INVALID_EXCEPTION_MAPPER]),
        ({TimeoutError: OwnCode.LATE}, [ErrorCode.CONFIG_INVALID_EXCEPTION_MAPPER]),
        ({TimeoutError: "BROKER_ERROR"}, [ErrorCode.CHECK_RESERVED_CODE_COLLISION]),
        ({TimeoutError: OutcomeCode.TASK_TIMEOUT}, [ErrorCode.CHECK_RESERVED_CODE_COLLISION]),
        (
            {KeyError: "WORKER_CRASHED", int: "X"},
            [ErrorCode.CHECK_RESERVED_CODE_COLLISION, ErrorCode.CONFIG_INVALID_EXCEPTION_MAPPER],
        ),
    ],
    ids=str,
)
def test_mappers_are_checked(mapper: Any, codes: list[ErrorCode]) -> None:
    found = validate_exception_mapper(mapper)
    assert [error.code for error in found] == codes
    assert all(isinstance(error, ConfigurationError) and error.help_text for error in found)


class ConnectTimeoutError(LateError, ConnectionError):
    """Has bases on two sides."""


TASK: Mapping[type[BaseException], str] = {Exception: "TASK_ANY", TimeoutError: "TASK_SLOW"}
APP: Mapping[type[BaseException], str] = {
    OSError: "APP_SYSTEM",
    URLError: "APP_URL",
    BaseException: "APP_ANY",
    ConnectionError: "APP_CONNECTION",
    LateError: "APP_LATE",
}
HTTP_ERROR = HTTPError("http://shop.example", 500, "no", Message(), None)


@pytest.mark.parametrize(
    ("exception", "task", "app", "task_default", "code"),
    [
        (TimeoutError(), TASK, APP, None, "TASK_SLOW"),
        (
            LateError(),
            TASK,
            APP,
            None,
            "TASK_SLOW",
        ),  # the app's mapper has the exact class, but the task's takes precedence
        (KeyError(), TASK, APP, None, "TASK_ANY"),
        (SystemExit(), TASK, APP, "TASK_OTHER", "APP_ANY"),
        (HTTP_ERROR, None, APP, None, "APP_URL"),
        (HTTP_ERROR, {URLError: "TASK_URL"}, APP, None, "TASK_URL"),
        (FileNotFoundError(), {}, APP, None, "APP_SYSTEM"),
        (ConnectTimeoutError(), None, APP, None, "APP_LATE"),
        (BrokenPipeError(), None, APP, None, "APP_CONNECTION"),
        (KeyError(), {OSError: "TASK_SYSTEM"}, {OSError: "APP_SYSTEM"}, "TASK_OTHER", "TASK_OTHER"),
        (KeyError(), None, None, None, "APP_OTHER"),
    ],
    ids=[
        "own",
        "task first",
        "base",
        "exit",
        "nearest",
        "task nearest",
        "far",
        "two sides",
        "pipe",
        "default",
        "app default",
    ],
)
def test_the_nearest_class_in_a_mapper_counts(
    exception: BaseException,
    task: Mapping[type[BaseException], str] | None,
    app: Mapping[type[BaseException], str] | None,
    task_default: str | None,
    code: str,
) -> None:
    found = code_for_exception(
        exception, task_mapper=task, app_mapper=app, task_default=task_default, app_default="APP_OTHER"
    )
    assert found == code


@pytest.mark.parametrize("code", BUILT_IN_CODES)
def test_a_default_of_the_librarys_own_is_a_member(code: str) -> None:
    found = code_for_exception(KeyError(), task_mapper=None, app_mapper=None, task_default=None, app_default=code)
    assert found is BUILT_IN_CODES[code]


@pytest.mark.parametrize("intervals", [b"ab", "12", 60, iter([60])])
def test_fixed_refuses_what_is_no_list_of_seconds(intervals: Any) -> None:
    with pytest.raises(TaskDefinitionError, match="intervals must be a list of seconds"):
        RetryPolicy.fixed(intervals, auto_retry_for=["A"])
