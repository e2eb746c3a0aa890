"""The tasks of an app, by name."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast
from weakref import WeakSet

from horsies.codec.problems import CodecError
from horsies.codec.signature import SignatureCodec, function_location, plain_args
from horsies.codec.wire import EncodedResult, ResultCodec, TypeMismatch
from horsies.codes import BuiltInTaskCode, ContractCode, OperationalErrorCode
from horsies.config.retry import ExceptionMapper, RetryPolicy
from horsies.errors import ErrorCode, HorsiesError, SourceLocation, TaskDefinitionError
from horsies.task_result import TaskError, TaskResult, UndeclaredTaskError
from horsies.tasks.discovery import are_retyped, warn_of_redefinition
from horsies.tasks.hooks import Hooks, name_of


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

    def encode_outcome(self, returned: object) -> EncodedResult | TaskError:
        """Check and encode what the function returned; a `TaskError` says why it can't be the outcome of the task."""
        if not isinstance(returned, TaskResult):
            message = (
                f"task {self.name} returned {type(returned).__name__}, not a TaskResult: "
                "return TaskResult(ok=…) or TaskResult(err=…)"
            )
            return TaskError(error_code=OperationalErrorCode.TASK_EXCEPTION, message=message)
        try:
            return self.result.encode(cast("TaskResult[Any, TaskError]", returned))
        except TypeMismatch as mismatch:
            message = f"task {self.name} returned a result that does not fit its annotation: {mismatch}"
            return TaskError(error_code=ContractCode.RETURN_TYPE_MISMATCH, message=message)
        except CodecError as error:
            message = f"the result of task {self.name} can't be stored: {error}"
            return TaskError(error_code=OperationalErrorCode.WORKER_SERIALIZATION_ERROR, message=message)

    def read_args(self, name: str, stored: bytes) -> Any:
        """Stored arguments by parameter, as the function gets them; plain JSON if they do not fit its signature."""
        try:
            return self.signature.decode_arguments(stored)
        except CodecError:
            return plain_args(name, stored)

    def is_same_source(self, other: "TaskDefinition") -> bool:
        """Whether both come from one place, as when a file is run as ``__main__`` and imported as well."""
        return self.location == other.location and self.fn.__qualname__ == other.fn.__qualname__


@dataclass(frozen=True, slots=True, eq=False)
class WorkflowBuilder:
    """A function that makes a workflow, and the arguments with which a check calls it."""

    fn: Callable[..., object]
    cases: Sequence[Mapping[str, object]]
    location: SourceLocation


SHORTEST_TIMEOUT_MS = 100
LARGEST_NUMBER = 2**31 - 1
"""The columns of the database are of the type integer."""

PLAIN_RESULTS = ResultCodec(Any, UndeclaredTaskError)


def wrong_timeout(timeout_ms: object) -> str | None:
    """What is wrong with the time-out of a task; None if it is all right."""
    if timeout_ms is None or (isinstance(timeout_ms, int) and SHORTEST_TIMEOUT_MS <= timeout_ms <= LARGEST_NUMBER):
        return None
    limits = f"{SHORTEST_TIMEOUT_MS} to {LARGEST_NUMBER:,}"
    return f"timeout_ms must be a whole number from {limits}, got {timeout_ms!r}"


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


_registries: "WeakSet[Registry]" = WeakSet()


class Registry:
    """Tasks by name; a name belongs to one place in the source.

    Attributes:
        module: the name of the module that made the app.
        location: the line that made the app.
        hooks: functions that run in child processes beside tasks.
        builders: functions that make workflows.
        problems: what was collected while the app's own module was imported for a check.
        suppressed: warnings about sends that the app's modules tried when they were imported.
        workflows: definition keys, or names, of the workflows that were described while the app was checked.
    """

    def __init__(self, module: str = "", location: SourceLocation | None = None) -> None:
        """Start empty."""
        self.module = module
        self.location = location
        self._tasks: dict[str, TaskDefinition] = {}
        self.hooks = Hooks()
        self.builders: list[WorkflowBuilder] = []
        self.problems: list[HorsiesError] = []
        self.suppressed: list[HorsiesError] = []
        self.workflows: set[str] = set()
        _registries.add(self)

    def copies(self) -> "list[Registry]":
        """Registries of the same app, which exist because its module was imported under other names as well."""
        same = [each for each in _registries if each.location == self.location and each.module != self.module]
        return sorted(same, key=lambda each: each.module) if self.location is not None else []

    def add(self, definition: TaskDefinition) -> None:
        """Add a task; the same function imported under a second module name replaces the first.

        So does a function that is typed again in a notebook or at a prompt, with a warning.

        Raises:
            TaskDefinitionError: HRS-301, the name belongs to another function.
        """
        known = self._tasks.get(definition.name)
        if known is not None and are_retyped(known.fn, definition.fn):
            if known.fn.__code__ != definition.fn.__code__:
                warn_of_redefinition(f"the task {definition.name!r}")
        elif known is not None and not known.is_same_source(definition):
            raise TaskDefinitionError(
                ErrorCode.TASK_DUPLICATE_NAME,
                f"there are two tasks named {definition.name!r}",
                location=definition.location,
                notes=[f"the other one is {known.fn.__qualname__}() at {known.location}"],
                help_text="rename one of them",
            )
        self._tasks[definition.name] = definition

    def add_builder(self, builder: WorkflowBuilder) -> None:
        """Add a builder; one that is typed again in a notebook or at a prompt replaces the first."""
        retyped = [
            known
            for known in self.builders
            if are_retyped(known.fn, builder.fn) and name_of(known.fn) == name_of(builder.fn)
        ]
        self.builders = [*(known for known in self.builders if known not in retyped), builder]

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

    def read_args(self, name: str, stored: bytes) -> Any:
        """Stored arguments of a task of that name, by parameter: plain JSON if it is not known here or does not fit."""
        known = self._tasks.get(name)
        return plain_args(name, stored) if known is None else known.read_args(name, stored)

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
