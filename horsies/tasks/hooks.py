"""Hooks: functions of the app that run in child processes at their start, at their exit, and around every attempt."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Self

from horsies.codec.signature import function_location
from horsies.codes import BuiltInTaskCode, TaskAttemptOutcome
from horsies.errors import ConfigurationError, ErrorCode, SourceLocation, caller_location
from horsies.task_result import TaskError
from horsies.tasks.discovery import are_retyped


@dataclass(frozen=True, slots=True)
class AttemptOutcome:
    """How an attempt ended, as `@app.around_task` hooks receive it: ``outcome = yield``.

    Attributes:
        status: COMPLETED or FAILED; or POSTPONED if the task answered with `RateLimited` or `Snooze`. A failed attempt
            may still be retried. A postponed one is not counted, and runs again.
        error_code: The code of the error; None if the attempt completed or its error has no code.
            A cancelled attempt has TASK_CANCELLED.
        exception: The exception that the attempt raised; None if it returned.
        error: The error that is stored for the attempt, with its message and data; None if the attempt completed.
        max_retries: How many retries the retry policy of the task's definition allows; 0 if it has no policy.
        may_retry: Whether that policy retries this attempt: it names the code, and a retry is left. This is a
            prediction. The database decides afterwards, by the policy with which the task was sent, and it does not
            retry past the task's ``good_until`` or after a cancel.
    """

    status: TaskAttemptOutcome
    error_code: BuiltInTaskCode | str | None = None
    exception: BaseException | None = None
    error: TaskError | None = None
    max_retries: int = 0
    may_retry: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class _Hook[**P, R]:
    """A hook function, and the line of source code that defines it; None if it is unknown."""

    fn: Callable[P, R]
    location: SourceLocation | None

    def is_same_source(self, other: "_Hook[P, R]") -> bool:
        """Whether both hooks are the same function, which may be two objects if its module was imported twice.

        Closures of one function count as different functions.
        """
        if self.fn is other.fn:
            return True
        if name_of(self.fn) == name_of(other.fn) and are_retyped(self.fn, other.fn):
            return True
        same = self.location == other.location and name_of(self.fn) == name_of(other.fn)
        return same and inspect.isfunction(self.fn) and not self.fn.__closure__

    def __str__(self) -> str:
        """Return the name and the location of the function, for log messages."""
        return name_of(self.fn) + (f" ({self.location})" if self.location is not None else "")


class ChildHook(_Hook[[], object]):
    """A function without parameters that runs at the start or at the normal exit of each child process."""

    @classmethod
    def of(cls, fn: object, moment: str = "start") -> Self:
        """Make a hook of a function.

        Args:
            fn: The function.
            moment: ``start`` or ``stop``, for the error message.

        Raises:
            ConfigurationError: HRS-214: The function is not suitable.
        """
        help_text = "decorate a plain function without parameters: def connect() -> None"
        use = f"run at the {moment} of a child process"
        return cls(_suitable_function(fn, _wrong_child_hook, use, help_text), _location_of(fn))


class AroundHook(_Hook[[Any], Iterator[None]]):
    """A generator function that runs around every attempt; its parameter is the `CurrentTask`."""

    @classmethod
    def of(cls, fn: object) -> Self:
        """Make a hook of a generator function.

        Raises:
            ConfigurationError: HRS-214: The function is not suitable.
        """
        help_text = "decorate a generator function that yields once: def trace(task: CurrentTask) -> Iterator[None]"
        return cls(_suitable_function(fn, _wrong_around_hook, "run around tasks", help_text), _location_of(fn))


def _suitable_function(
    fn: object, find_problem: Callable[[Callable[..., Any]], str | None], use: str, help_text: str
) -> Callable[..., Any]:
    """Return a function unchanged if it can be a hook.

    Raises:
        ConfigurationError: HRS-214: The function is not suitable.
    """
    problem = find_problem(fn) if callable(fn) else "is not callable"
    if callable(fn) and problem is None:
        return fn
    message = f"{name_of(fn)} cannot {use}: it {problem}"
    code = ErrorCode.WORKER_INVALID_CHILD_HOOK
    raise ConfigurationError(code, message, location=_location_of(fn), help_text=help_text)


@dataclass(frozen=True, slots=True)
class Hooks:
    """The hooks of an app, each list in the order of registration."""

    child_start: list[ChildHook] = field(default_factory=list[ChildHook])
    child_stop: list[ChildHook] = field(default_factory=list[ChildHook])
    around_task: list[AroundHook] = field(default_factory=list[AroundHook])


def add_hook[H: _Hook[..., Any]](hooks: list[H], hook: H) -> None:
    """Add a hook. A function that is imported again under a second module name replaces the first, as with tasks."""
    for place, known in enumerate(hooks):
        if known.is_same_source(hook):
            hooks[place] = hook
            return
    hooks.append(hook)


def name_of(fn: object) -> str:
    """Return the qualified name of a function."""
    return str(getattr(fn, "__qualname__", repr(fn)))


def _location_of(fn: object) -> SourceLocation | None:
    return function_location(fn) if inspect.isfunction(fn) else caller_location()


def _wrong_child_hook(fn: Callable[..., object]) -> str | None:
    for each in _callables_of(fn):
        if inspect.iscoroutinefunction(each) or inspect.isasyncgenfunction(each):
            return "is asynchronous"
        if inspect.isgeneratorfunction(each):
            return "is a generator"
    try:
        parameters = list(inspect.signature(fn).parameters)
    except ValueError:  # some built-in functions have no signature
        return None
    return f"takes {', '.join(parameters)}" if parameters else None


def _wrong_around_hook(fn: Callable[..., object]) -> str | None:
    each = _callables_of(fn)
    if any(inspect.isasyncgenfunction(one) or inspect.iscoroutinefunction(one) for one in each):
        return "is asynchronous"
    if hasattr(fn, "__wrapped__"):
        return "is wrapped by another decorator, such as @contextmanager"
    if not any(inspect.isgeneratorfunction(one) for one in each):
        return "is not a generator function"
    try:
        inspect.signature(fn).bind(None)
    except TypeError:
        return "does not take exactly one positional argument, the task"
    return None


def _callables_of(fn: Callable[..., object]) -> tuple[object, object]:
    """Return the function, and the ``__call__`` method of a callable object."""
    return fn, getattr(fn, "__call__", None)  # noqa: B004 - the method of an object may be asynchronous
