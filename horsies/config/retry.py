"""Which failures are tried again, when, and the codes that exceptions become."""

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

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

MAX_RETRIES = 20
MAX_INTERVAL_S = 24 * 3600.0
MIN_INTERVAL_S = 0.001
"""The least that is accepted, so that tests need not wait; in production a second is the least that makes sense."""

_BUILT_IN: frozenset[object] = frozenset(BUILT_IN_CODES.values())
_CODE = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*")

type ExceptionMapper = Mapping[type[BaseException], str]
"""Exception classes to codes of the program's own. The entry of the nearest base class of an exception counts."""


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
        msg = f"auto_retry_for takes error codes as strings or members of the library's own codes, got {given!r}"
        raise ValueError(msg)
    if not _is_code(given):
        msg = f"{given!r} in auto_retry_for is no UPPER_SNAKE_CASE code; exceptions are mapped in an exception_mapper"
        raise ValueError(msg)
    return BUILT_IN_CODES.get(given, given)


def _intervals(given: object) -> object:
    if isinstance(given, str) or not isinstance(given, Sequence):
        msg = "intervals must be a list of seconds"
        raise ValueError(msg)  # noqa: TRY004
    return tuple(_interval(item) for item in cast("Sequence[object]", given))


def _interval(given: object) -> float:
    seconds = _seconds(given)
    if seconds is None or not MIN_INTERVAL_S <= seconds <= MAX_INTERVAL_S:
        msg = f"an interval must be 1 s to 24 h (86400), got {given!r}"
        raise ValueError(msg)
    return seconds


def _max_delay(given: object) -> object:
    if given is None:
        return None
    seconds = _seconds(given)
    if seconds is None or seconds < MIN_INTERVAL_S:
        msg = f"max_delay_seconds must be a number of seconds, at least 1, got {given!r}"
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
    """When a failed task is tried again.

    Attributes:
        max_retries: 1 to 20, not counting the first attempt.
        intervals: seconds, 1 to 86,400 (fractions of a second are accepted, for tests). Fixed: one per retry;
            exponential: exactly one, which doubles with every retry.
        backoff_strategy: "fixed" or "exponential".
        jitter: whether each delay is varied by up to 25 % either way.
        auto_retry_for: the codes that are tried again; no other failure is.
        max_delay_seconds: the longest delay that exponential backoff reaches, jitter included; None: no limit. A
            ``retry_after`` in the error is not limited by it.
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
            """Take the fields by keyword.

            Raises:
                TaskDefinitionError: HRS-102, one is missing or wrong; several at once as `MultipleValidationErrors`.
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
        """Try again after each of the intervals (seconds) in turn.

        Raises:
            ValueError: something is out of range.
        """
        return cls(max_retries=len(intervals), intervals=intervals, jitter=jitter, auto_retry_for=auto_retry_for)

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
        """Try again after ``base_seconds``, then after twice that, and so on, but never after more than a limit.

        Args:
            base_seconds: the delay before the first retry.
            max_retries: 1 to 20.
            auto_retry_for: the codes that are tried again.
            jitter: whether each delay is varied by up to 25 % either way.
            max_delay_seconds: the longest delay, jitter included; None: no limit.

        Raises:
            TaskDefinitionError: HRS-102, something is out of range; several at once as `MultipleValidationErrors`.
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
            msg = f"max_retries must be 1 to {MAX_RETRIES}, got {self.max_retries}"
            raise ValueError(msg)
        needed = self.max_retries if self.backoff_strategy == "fixed" else 1
        if len(self.intervals) != needed:
            rule = "one interval per retry" if self.backoff_strategy == "fixed" else "exactly one interval, its base"
            msg = f"{self.backoff_strategy} backoff needs {rule}: {needed}, got {len(self.intervals)}"
            raise ValueError(msg)
        if self.max_delay_seconds is not None and self.backoff_strategy == "fixed":
            msg = "max_delay_seconds belongs to exponential backoff: shorten the intervals of a fixed one instead"
            raise ValueError(msg)
        if self.max_delay_seconds is not None and self.max_delay_seconds < self.intervals[0]:
            msg = (
                f"max_delay_seconds ({self.max_delay_seconds:g}) is less than the base of {self.intervals[0]:g} seconds"
            )
            raise ValueError(msg)
        return self

    def to_json(self) -> bytes:
        """Write the policy as the database reads it."""
        policy: dict[str, object] = {
            "max_retries": self.max_retries,
            "strategy": self.backoff_strategy,
            "intervals": list(self.intervals),
            "jitter": self.jitter,
            "codes": [str(code) for code in self.auto_retry_for],
        }
        if self.max_delay_seconds is not None:  # other policies stay the bytes that they were
            policy["max_delay"] = self.max_delay_seconds
        return json.dumps(policy, separators=(",", ":")).encode()


def _problem(detail: "ErrorDetails") -> TaskDefinitionError:
    said = detail.get("ctx", {}).get("error") or f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}"
    return TaskDefinitionError(
        ErrorCode.TASK_INVALID_OPTIONS,
        f"invalid RetryPolicy: {said}",
        location=caller_location(),
        help_text="write RetryPolicy.fixed([60, 300], auto_retry_for=[…])",
    )


def validate_exception_mapper(mapper: Any) -> list[HorsiesError]:
    """Find what is wrong with an exception mapper: HRS-209 malformed, HRS-212 a value is reserved."""
    if not isinstance(mapper, Mapping):
        return [_malformed(f"an exception mapper is a dict, got {type(mapper).__name__}")]
    problems: list[HorsiesError] = []
    for kind, code in cast("Mapping[object, object]", mapper).items():
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            problems.append(_malformed(f"the key {kind!r} of the exception mapper is no exception class"))
        elif isinstance(code, str) and code in BUILT_IN_CODES:
            message = f"{kind.__name__} is mapped to {code}, a code of the library's own"
            reserved, help_text = ErrorCode.CHECK_RESERVED_CODE_COLLISION, "choose a code of your own"
            problems.append(ConfigurationError(reserved, message, help_text=help_text))
        elif not isinstance(code, str) or isinstance(code, Enum) or not _is_code(code):
            problems.append(_malformed(f"{kind.__name__} is mapped to {code!r}, which is no UPPER_SNAKE_CASE string"))
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
    """Find the code that an exception of user code becomes: mappers before defaults, the task's before the app's.

    Within a mapper, the first class of the exception's method resolution order that has an entry counts: its own class,
    then its bases.
    """
    for mapper in (task_mapper, app_mapper):
        for kind in type(exception).__mro__ if mapper else ():
            if mapper is not None and kind in mapper:
                return mapper[kind]
    default = app_default if task_default is None else task_default
    return BUILT_IN_CODES.get(default, default)
