"""The tasks of an app, by name."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from horsies.codec.signature import SignatureCodec, function_location
from horsies.codec.wire import ResultCodec
from horsies.codes import BuiltInTaskCode
from horsies.errors import ErrorCode, HorsiesError, SourceLocation, TaskDefinitionError
from horsies.hooks import Hooks
from horsies.retry import ExceptionMapper, RetryPolicy


@dataclass(frozen=True, slots=True, eq=False)
class TaskDefinition:
    """All that is known of a task.

    Attributes:
        name: under which it is sent and run.
        fn: the user's function.
        is_async: whether calling it makes a coroutine.
        signature: its arguments to JSON and back.
        result: its results to JSON and back.
        location: where the function stands in the source.
        queue_name: where it waits.
        retry_policy: None if it is never tried again.
        exception_mapper: its own, which goes before the app's.
        default_unhandled_error_code: its own, which goes before the app's.
        timeout_ms: milliseconds from start; None if it may take for ever.
    """

    name: str
    fn: Callable[..., Any]
    is_async: bool
    signature: SignatureCodec
    result: ResultCodec
    location: SourceLocation
    queue_name: str = "default"
    retry_policy: RetryPolicy | None = None
    exception_mapper: ExceptionMapper | None = None
    default_unhandled_error_code: BuiltInTaskCode | str | None = None
    timeout_ms: int | None = None

    def is_same_source(self, other: "TaskDefinition") -> bool:
        """Whether both come from one place, as when a file is run as ``__main__`` and imported as well."""
        return self.location == other.location and self.fn.__qualname__ == other.fn.__qualname__


@dataclass(frozen=True, slots=True, eq=False)
class WorkflowBuilder:
    """A function that makes a workflow, and the arguments with which a check calls it."""

    fn: Callable[..., object]
    cases: Sequence[Mapping[str, object]]
    location: SourceLocation


PLAIN_RESULTS = ResultCodec(Any)


def _stand_in() -> None:
    """What a check goes on with in place of a task that is wrong."""


STAND_IN = TaskDefinition(
    "",
    _stand_in,
    is_async=False,
    signature=SignatureCodec(_stand_in),
    result=PLAIN_RESULTS,
    location=function_location(_stand_in),
)


class Registry:
    """Tasks by name; a name belongs to one place in the source.

    Attributes:
        hooks: what runs in child processes besides tasks.
        builders: functions that make workflows.
        problems: what was collected while the app's own module was imported for a check.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._tasks: dict[str, TaskDefinition] = {}
        self.hooks = Hooks()
        self.builders: list[WorkflowBuilder] = []
        self.problems: list[HorsiesError] = []

    def add(self, definition: TaskDefinition) -> None:
        """Add a task; the same function imported under a second module name replaces the first.

        Raises:
            TaskDefinitionError: HRS-301, the name belongs to another function.
        """
        known = self._tasks.get(definition.name)
        if known is not None and not known.is_same_source(definition):
            raise TaskDefinitionError(
                ErrorCode.TASK_DUPLICATE_NAME,
                f"there are two tasks named {definition.name!r}",
                location=definition.location,
                notes=[f"the other one is {known.fn.__qualname__}() at {known.location}"],
                help_text="rename one of them",
            )
        self._tasks[definition.name] = definition

    def get(self, name: str) -> TaskDefinition:
        """Look a task up.

        Raises:
            HorsiesError: HRS-300, there is none of that name; it suggests the nearest one.
        """
        found = self._tasks.get(name)
        if found is not None:
            return found
        near = difflib.get_close_matches(name, self._tasks, n=1)
        raise HorsiesError(
            ErrorCode.TASK_NOT_REGISTERED,
            f"there is no task named {name!r}",
            notes=[f"registered are: {', '.join(self.names) or 'none'}"],
            help_text=f"did you mean {near[0]!r}?"
            if near
            else "does discover_tasks() list the module that defines it?",
        )

    def result_codec(self, name: str) -> ResultCodec:
        """How results of a task of that name are read: plain JSON if it is not known here."""
        known = self._tasks.get(name)
        return PLAIN_RESULTS if known is None else known.result

    def has(self, definition: TaskDefinition) -> bool:
        """Whether it is a task of this registry, or the same one imported again."""
        known = self._tasks.get(definition.name)
        return known is not None and known.is_same_source(definition)

    def __contains__(self, name: object) -> bool:
        """Whether there is a task of that name."""
        return name in self._tasks

    @property
    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(self._tasks)
