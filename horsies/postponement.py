"""`RateLimited` and `Snooze`: a task asks to run again later. Such an attempt is not counted, and is not a failure.

A task returns one of them, as ``TaskResult(err=RateLimited(…))``, or raises it. In a `TaskResult` it becomes a
`TaskError` with its code, and ``data`` that says when and for what: `read_postponement` reads both again. They are
exceptions, because a pydantic model such as `TaskError` cannot be one.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final, Literal, NamedTuple, cast

from horsies.codes import OutcomeCode
from horsies.plain import short_repr

MAX_DELAY_S: Final = 30 * 24 * 3600.0
"""The longest delay that a task can ask for, also before a retry, in seconds: 30 days."""
DEFAULT_DELAY_S: Final = 30.0
POSTPONING_CODES: Final = frozenset({OutcomeCode.RATE_LIMITED, OutcomeCode.SNOOZED})


class PostponeScope(StrEnum):
    """For what an answer that postpones a task holds."""

    TASK = "task"  # this task alone
    KEY = "key"  # all tasks of the queue that have the key of the task
    QUEUE = "queue"  # all tasks of the queue


class Postponement(NamedTuple):
    """The answer of a task that asks to run again later, with all values valid.

    Attributes:
        code: RATE_LIMITED or SNOOZED.
        seconds: for how long nothing is to start.
        scope: for what that holds.
        ignored: why a value that the task gave was replaced by the default; None: all were valid. Holds the value.
        ignored_names: the names of those values, for the log.
    """

    code: OutcomeCode
    seconds: float
    scope: PostponeScope
    ignored: str | None = None
    ignored_names: tuple[str, ...] = ()

    @property
    def message(self) -> str:
        """A description for people."""
        verb = "rate limited" if self.code is OutcomeCode.RATE_LIMITED else "snoozed"
        text = f"{verb} for {self.seconds:g} s"
        return text if self.ignored is None else f"{text} ({self.ignored})"


class AttemptPostponed(Exception):  # noqa: N818 - it is not an error, and its subclasses read as answers of a task
    """The base class of `RateLimited` and `Snooze`.

    Attributes:
        code: The error code of the answer.
        data: The delay and the scope of the answer, as in ``TaskError.data``.
    """

    def __init__(self, code: OutcomeCode, data: Mapping[str, object]) -> None:
        super().__init__(code, data)
        self.code = code
        self.data = dict(data)

    @property
    def message(self) -> str:
        """A description for people."""
        return read_postponement(self.code, self.data).message

    def __str__(self) -> str:
        """Return the message."""
        return self.message

    def __eq__(self, other: object) -> bool:
        """Compare two answers by what they ask for."""
        if not isinstance(other, AttemptPostponed):
            return NotImplemented
        return (self.code, self.data) == (other.code, other.data)

    def __hash__(self) -> int:
        """Hash the code and the delay."""
        return hash((self.code, repr(self.data)))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the answer by what it asks for."""
        return type(self), tuple(self.data.values())


class RateLimited(AttemptPostponed):
    """The answer of a task whose remote service refuses work for a while: ``TaskResult(err=RateLimited(30))``.

    Return it as the error of any task, whatever error class the task declares, or raise it. The attempt is not counted:
    it costs no retry, and the next attempt has the same number. The task waits for ``retry_after`` seconds, and with
    the scopes "key" and "queue" so do the other tasks of the key or the queue, on all workers. Several answers at the
    same time never shorten the wait. A task that has a ``good_until`` still expires then.

    Args:
        retry_after: Seconds from 0 to 2,592,000 (30 days), such as the value of an HTTP header ``Retry-After``, as a
            number. Any other value is replaced by 30 seconds, and the worker logs ``task.delay_ignored``.
        scope: "key": the tasks of the queue with the key of this task; this task alone, if it has no key or its queue
            is not keyed. "queue": all tasks of the queue. "task": this task alone.
    """

    def __init__(self, retry_after: float = DEFAULT_DELAY_S, scope: Literal["key", "queue", "task"] = "key") -> None:
        super().__init__(OutcomeCode.RATE_LIMITED, {"retry_after": retry_after, "scope": scope})


class Snooze(AttemptPostponed):
    """The answer of a task that wants to run again later: ``TaskResult(err=Snooze(60))``.

    It works like `RateLimited` with the scope "task".

    Args:
        seconds: Seconds from 0 to 2,592,000 (30 days). Any other value is replaced by 30 seconds, and the worker logs
            ``task.delay_ignored``.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(OutcomeCode.SNOOZED, {"retry_after": seconds})


def read_postponement(code: object, data: object) -> Postponement:
    """Read what an error with the code RATE_LIMITED or SNOOZED asks for; values that are not valid get the default."""
    given: Mapping[object, object] = cast("Mapping[object, object]", data) if isinstance(data, Mapping) else {}
    ignored: dict[str, str] = {}
    seconds = given.get("retry_after", DEFAULT_DELAY_S)
    if not is_delay(seconds):
        ignored["retry_after"] = delay_ignored(seconds)
        seconds = DEFAULT_DELAY_S
    if code != OutcomeCode.RATE_LIMITED:
        scope: PostponeScope = PostponeScope.TASK
    else:
        asked = given.get("scope", PostponeScope.KEY)
        try:
            scope = PostponeScope(cast("str", asked))
        except ValueError:
            ignored["scope"] = f'scope was ignored, because it must be "key", "queue" or "task", got {_show(asked)}'
            scope = PostponeScope.KEY
    reason = "; ".join(ignored.values()) or None
    return Postponement(OutcomeCode(str(code)), float(cast("float", seconds)), scope, reason, tuple(ignored))


def is_delay(seconds: object) -> bool:
    """Whether a value is a delay that a task may ask for."""
    return isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 <= seconds <= MAX_DELAY_S


def delay_ignored(seconds: object) -> str:
    """Return the message for a ``retry_after`` that cannot be used."""
    limits = f"a number of seconds from 0 to {MAX_DELAY_S:.0f} (30 days)"
    return f"retry_after was ignored, because it must be {limits}, got {_show(seconds)}"


def _show(value: object) -> str:
    return f"{type(value).__qualname__} ({short_repr(value)})"
