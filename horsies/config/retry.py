"""Retry policies, and the mapping of exceptions to error codes."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, StrictBool, StrictInt, ValidationError, model_validator

from horsies.codes import BUILT_IN_CODES, BuiltInTaskCode
from horsies.errors import (
    ConfigurationError,
    ErrorCode,
    HorsiesError,
    TaskDefinitionError,
    caller_location,
    raise_all,
)
from horsies.plain import short_repr

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

MAX_RETRIES = 20
MAX_INTERVAL_S = 24 * 3600.0
MIN_INTERVAL_S = 0.001
"""The smallest accepted interval. It is short so that tests need not wait; in production use at least a second."""

_BUILT_IN: frozenset[object] = frozenset(BUILT_IN_CODES.values())
_CODE = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*")

type ExceptionMapper = Mapping[type[BaseException], str]
"""Maps exception classes to custom error codes. The entry of the nearest base class of an exception applies."""


def _is_code(text: str) -> bool:
    return _CODE.fullmatch(text) is not None


def _codes(given: object) -> object:
    if isinstance(given, str) or not isinstance(given, Sequence | set | frozenset):
        msg = "auto_retry_for must be a list of error codes"
        raise ValueError(msg)  # noqa: TRY004
    codes = tuple(dict.fromkeys(_code(item) for item in cast("Sequence[object]", given)))
    if not codes:
        msg = "auto_retry_for must name at least one error code"
        raise ValueError(msg)
    return codes


def _code(given: object) -> BuiltInTaskCode | str:
    if isinstance(given, type):
        msg = f"auto_retry_for takes error codes, not exception classes: map {given.__name__} in an exception_mapper"
        raise ValueError(msg)  # noqa: TRY004 - pydantic turns only ValueError into a validation error
    if not isinstance(given, str) or (isinstance(given, Enum) and given not in _BUILT_IN):
        kinds = "strings or members of the error code enums of horsies"
        msg = f"auto_retry_for takes error codes: {kinds}, got {short_repr(given)}"
        raise ValueError(msg)
    if not _is_code(given):
        fix = "map exceptions in an exception_mapper"
        msg = f"{short_repr(given)} in auto_retry_for is not an UPPER_SNAKE_CASE code; {fix}"
        raise ValueError(msg)
    return BUILT_IN_CODES.get(given, given)


def _is_list(given: object) -> bool:
    return isinstance(given, Sequence) and not isinstance(given, str | bytes | bytearray | memoryview)


def _intervals(given: object) -> object:
    if not _is_list(given):
        msg = f"intervals must be a list of seconds, got {short_repr(given)}"
        raise ValueError(msg)
    return tuple(_interval(item) for item in cast("Sequence[object]", given))


def _interval(given: object) -> float:
    seconds = _seconds(given)
    if seconds is None or not MIN_INTERVAL_S <= seconds <= MAX_INTERVAL_S:
        msg = f"an interval must be 1 s to 24 h (86400), got {short_repr(given)}"
        raise ValueError(msg)
    return seconds


def _max_delay(given: object) -> object:
    if given is None:
        return None
    seconds = _seconds(given)
    if seconds is None or seconds < MIN_INTERVAL_S:
        msg = f"max_delay_seconds must be at least 1 second, got {short_repr(given)}"
        raise ValueError(msg)
    return seconds


def _seconds(given: object) -> float | None:
    """Return a finite number as a float; None for anything else."""
    if not isinstance(given, int | float) or isinstance(given, bool):
        return None
    try:
        return float(given) if math.isfinite(given) else None
    except OverflowError:  # a whole number that no float can hold
        return None


class RetryPolicy(BaseModel):
    """When a failed task is retried.

    Attributes:
        max_retries: The number of retries, 1 to 20, not counting the first attempt.
        intervals: Delays in seconds, 1 to 86,400 (fractions of a second are accepted, for tests). With fixed backoff
            one per retry; with exponential backoff exactly one, which doubles with every retry.
        backoff_strategy: "fixed" or "exponential".
        jitter: Whether each delay is randomly varied by up to 25 % in either direction.
        auto_retry_for: The error codes that are retried. All other failures are final.
        max_delay_seconds: The longest delay of exponential backoff in seconds, including jitter; None: no limit. It
            does not limit a ``retry_after`` in the error, which may be up to 30 days.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_retries: StrictInt = 3
    intervals: Annotated[Sequence[float], BeforeValidator(_intervals)] = (60.0, 300.0, 900.0)
    backoff_strategy: Literal["fixed", "exponential"] = "fixed"
    jitter: StrictBool = True
    auto_retry_for: Annotated[Sequence[BuiltInTaskCode | str], BeforeValidator(_codes)]
    max_delay_seconds: Annotated[float | None, BeforeValidator(_max_delay)] = None

    if not TYPE_CHECKING:  # type checkers know the fields

        def __init__(self, /, **data: Any) -> None:
            """Validate the fields.

            Raises:
                TaskDefinitionError: HRS-102: A field is missing or invalid. Several problems are raised together as
                    `MultipleValidationErrors`.
            """
            wrong: list[ErrorDetails] = []
            try:
                super().__init__(**data)
            except ValidationError as failure:
                wrong = failure.errors(include_url=False)
            raise_all(_problem(detail) for detail in wrong)

    @classmethod
    def fixed(
        cls, intervals: Sequence[float], *, auto_retry_for: Sequence[BuiltInTaskCode | str], jitter: bool = True
    ) -> Self:
        """Retry after each of the intervals in turn.

        Args:
            intervals: The delay before each retry, in seconds.
            auto_retry_for: The error codes that are retried.
            jitter: Whether each delay is randomly varied by up to 25 % in either direction.

        Raises:
            TaskDefinitionError: HRS-102: A value is out of range. Several problems are raised together as
                `MultipleValidationErrors`.
        """
        count = len(intervals) if _is_list(intervals) else 1  # anything else is refused below
        return cls(max_retries=count, intervals=intervals, jitter=jitter, auto_retry_for=auto_retry_for)

    @classmethod
    def exponential(
        cls,
        base_seconds: float,
        *,
        max_retries: int = 3,
        auto_retry_for: Sequence[BuiltInTaskCode | str],
        jitter: bool = True,
        max_delay_seconds: float | None = None,
    ) -> Self:
        """Retry after ``base_seconds``, and double the delay with every retry, up to an optional limit.

        Args:
            base_seconds: The delay before the first retry, in seconds.
            max_retries: The number of retries, 1 to 20.
            auto_retry_for: The error codes that are retried.
            jitter: Whether each delay is randomly varied by up to 25 % in either direction.
            max_delay_seconds: The longest delay in seconds, including jitter; None: no limit.

        Raises:
            TaskDefinitionError: HRS-102: A value is out of range. Several problems are raised together as
                `MultipleValidationErrors`.
        """
        return cls(
            max_retries=max_retries,
            intervals=(base_seconds,),
            backoff_strategy="exponential",
            jitter=jitter,
            auto_retry_for=auto_retry_for,
            max_delay_seconds=max_delay_seconds,
        )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if not 1 <= self.max_retries <= MAX_RETRIES:
            msg = f"max_retries must be from 1 to {MAX_RETRIES}, got {short_repr(self.max_retries)}"
            raise ValueError(msg)
        needed = self.max_retries if self.backoff_strategy == "fixed" else 1
        if len(self.intervals) != needed:
            rule = "one interval per retry" if self.backoff_strategy == "fixed" else "exactly one interval, the base"
            msg = f"{self.backoff_strategy} backoff requires {rule}: expected {needed}, got {len(self.intervals)}"
            raise ValueError(msg)
        if self.max_delay_seconds is not None and self.backoff_strategy == "fixed":
            msg = "max_delay_seconds applies to exponential backoff only: with fixed backoff, shorten the intervals"
            raise ValueError(msg)
        if self.max_delay_seconds is not None and self.max_delay_seconds < self.intervals[0]:
            msg = (
                f"max_delay_seconds ({self.max_delay_seconds:g}) is less than the base of {self.intervals[0]:g} seconds"
            )
            raise ValueError(msg)
        return self

    def to_json(self) -> bytes:
        """Encode the policy as JSON in the form that the SQL functions read."""
        policy: dict[str, object] = {
            "max_retries": self.max_retries,
            "strategy": self.backoff_strategy,
            "intervals": list(self.intervals),
            "jitter": self.jitter,
            "codes": [str(code) for code in self.auto_retry_for],
        }
        if self.max_delay_seconds is not None:  # keeps the encoding, and so the fingerprint, of other policies stable
            policy["max_delay"] = self.max_delay_seconds
        return json.dumps(policy, separators=(",", ":")).encode()


def _problem(detail: "ErrorDetails") -> TaskDefinitionError:
    reason = detail.get("ctx", {}).get("error") or f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}"
    return TaskDefinitionError(
        ErrorCode.TASK_INVALID_OPTIONS,
        f"invalid RetryPolicy: {reason}",
        location=caller_location(),
        help_text="write RetryPolicy.fixed([60, 300], auto_retry_for=[…])",
    )


def validate_exception_mapper(mapper: Any) -> list[HorsiesError]:
    """Return the errors of an exception mapper: HRS-209 for a malformed entry, HRS-212 for a reserved code."""
    if not isinstance(mapper, Mapping):
        return [_malformed(f"exception_mapper must be a dict, got {type(mapper).__name__}")]
    problems: list[HorsiesError] = []
    for kind, code in cast("Mapping[object, object]", mapper).items():
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            problems.append(_malformed(f"the key {kind!r} of the exception mapper is not an exception class"))
        elif isinstance(code, str) and code in BUILT_IN_CODES:
            message = f"{kind.__name__} is mapped to {code}, which is reserved by horsies"
            reserved, help_text = ErrorCode.CHECK_RESERVED_CODE_COLLISION, "choose another code"
            problems.append(ConfigurationError(reserved, message, help_text=help_text))
        elif not isinstance(code, str) or isinstance(code, Enum) or not _is_code(code):
            message = f"{kind.__name__} is mapped to {code!r}, which is not an UPPER_SNAKE_CASE string"
            problems.append(_malformed(message))
    return problems


def _malformed(message: str) -> HorsiesError:
    help_text = 'map exception classes to codes: {TimeoutError: "UPSTREAM_SLOW"}'
    return ConfigurationError(ErrorCode.CONFIG_INVALID_EXCEPTION_MAPPER, message, help_text=help_text)


def code_for_exception(
    exception: BaseException,
    *,
    task_mapper: ExceptionMapper | None,
    app_mapper: ExceptionMapper | None,
    task_default: BuiltInTaskCode | str | None,
    app_default: BuiltInTaskCode | str,
) -> BuiltInTaskCode | str:
    """Return the error code for an exception that a task raised.

    The order of precedence is: the task's mapper, the app's mapper, the task's default, the app's default. Within a
    mapper, the first class in the exception's method resolution order that has an entry applies: the class of the
    exception, then its bases.
    """
    for mapper in (task_mapper, app_mapper):
        for kind in type(exception).__mro__ if mapper else ():
            if mapper is not None and kind in mapper:
                return mapper[kind]
    default = app_default if task_default is None else task_default
    return BUILT_IN_CODES.get(default, default)
