"""The registry of an app: its tasks by name, its hooks and its workflow builders."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast
from weakref import WeakSet

from horsies.codec.problems import CodecError
from horsies.codec.signature import SignatureCodec, function_location, plain_args
from horsies.codec.wire import EncodedResult, ResultCodec, TypeMismatch
from horsies.codes import BuiltInTaskCode, ContractCode, OperationalErrorCode
from horsies.config.retry import ExceptionMapper, RetryPolicy
from horsies.config.unique import Unique
from horsies.errors import ErrorCode, HorsiesError, SourceLocation, TaskDefinitionError
from horsies.plain import short_repr
from horsies.suggestions import suggest
from horsies.task_result import TaskError, TaskResult, UndeclaredTaskError
from horsies.tasks.discovery import are_retyped, warn_of_redefinition
from horsies.tasks.hooks import Hooks, name_of
from horsies.tasks.own_transaction import OwnTransaction


@dataclass(frozen=True, slots=True, eq=False)
class TaskDefinition:
    """The definition of a task.

    Attributes:
        name: The name under which the task is sent and run.
        fn: The user's function.
        is_async: Whether the function is an ``async def``.
        signature: The codec of its arguments.
        result: The codec of its results.
        location: The line of source code that defines the function.
        queue_name: The queue to which it is sent.
        retry_policy: When failed attempts are retried; None: never.
        exception_mapper: The mapper of the task, which takes precedence over that of the app.
        default_unhandled_error_code: The default of the task, which takes precedence over that of the app.
        timeout_ms: How long an attempt may run, in milliseconds; None: no limit.
        unique: Of which tasks at most one may be live; None: any number.
        key_by: The parameter, or the parameters, whose arguments are the key of the task; None: it has no key, unless
            a send gives one.
        own_transaction: The transaction in which the task runs, if it is transactional. Its connection is the first
            argument of the function, and is not part of ``signature``.
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
    unique: Unique | None = None
    key_by: str | tuple[str, ...] | None = None
    own_transaction: OwnTransaction | None = None

    @property
    def has_secrets(self) -> bool:
        """Whether arguments, results or errors of the task may be secret."""
        codec = self.result
        return bool(self.signature.secret_paths or codec.secret_paths or codec.secret_error_paths)

    def encode_outcome(self, returned: object) -> EncodedResult | TaskError:
        """Check and encode the return value of the function. Return a `TaskError` if it is not a valid outcome."""
        if not isinstance(returned, TaskResult):
            message = (
                f"task {self.name} returned {type(returned).__name__} instead of a TaskResult: "
                "return TaskResult(ok=…) or TaskResult(err=…)"
            )
            return TaskError(error_code=OperationalErrorCode.TASK_EXCEPTION, message=message)
        try:
            return self.result.encode(cast("TaskResult[Any, TaskError]", returned))
        except TypeMismatch as mismatch:
            message = f"task {self.name} returned a result that does not fit its annotation: {mismatch}"
            return TaskError(error_code=ContractCode.RETURN_TYPE_MISMATCH, message=message)
        except CodecError as error:
            message = f"the result of task {self.name} cannot be stored: {error}"
            return TaskError(error_code=OperationalErrorCode.WORKER_SERIALIZATION_ERROR, message=message)

    def read_args(self, name: str, stored: bytes) -> Any:
        """Decode stored arguments by parameter name; return plain JSON if they do not fit the signature."""
        try:
            return self.signature.decode_arguments(stored)
        except CodecError:
            return plain_args(name, stored)

    def is_same_source(self, other: "TaskDefinition") -> bool:
        """Whether both have the same source, as when a file is run as ``__main__`` and also imported."""
        return self.location == other.location and self.fn.__qualname__ == other.fn.__qualname__


@dataclass(frozen=True, slots=True, eq=False)
class WorkflowBuilder:
    """A function that builds a workflow.

    Attributes:
        fn: The function.
        cases: The keyword arguments of each call that a check makes.
        location: The line of source code that defines the function.
    """

    fn: Callable[..., object]
    cases: Sequence[Mapping[str, object]]
    location: SourceLocation


SHORTEST_TIMEOUT_MS = 100
LARGEST_NUMBER = 2**31 - 1
"""The columns of the database are of the type integer."""

PLAIN_RESULTS = ResultCodec(Any, UndeclaredTaskError)


def wrong_timeout(timeout_ms: object) -> str | None:
    """Return why a timeout is invalid, or None if it is valid."""
    if timeout_ms is None or (isinstance(timeout_ms, int) and SHORTEST_TIMEOUT_MS <= timeout_ms <= LARGEST_NUMBER):
        return None
    limits = f"{SHORTEST_TIMEOUT_MS} to {LARGEST_NUMBER:,}"
    return f"timeout_ms must be a whole number from {limits}, got {short_repr(timeout_ms)}"


def _stand_in() -> None:
    """Replace an invalid task during a check, so that the check can continue."""


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
    """The tasks of an app by name. Each name belongs to one place in the source.

    Attributes:
        module: The name of the module that made the app.
        location: The line of source code that made the app.
        hooks: The functions that run in child processes in addition to tasks.
        builders: The functions that build workflows.
        problems: Errors that were collected while a check imported the module of the app.
        suppressed: Warnings about sends that the modules of the app tried when they were imported.
        workflows: Definition keys, or else names, of the workflows that were made while the app was checked.
    """

    def __init__(self, module: str = "", location: SourceLocation | None = None) -> None:
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
        """Return the other registries of the same app, which exist if its module was imported under several names."""
        same = [each for each in _registries if each.location == self.location and each.module != self.module]
        return sorted(same, key=lambda each: each.module) if self.location is not None else []

    def add(self, definition: TaskDefinition) -> None:
        """Add a task.

        A function that is imported again under a second module name replaces the first. So does a function that is
        defined again in an interactive session, with a warning.

        Raises:
            TaskDefinitionError: HRS-301: The name belongs to another function.
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
                notes=[f"the other task is {known.fn.__qualname__}() at {known.location}"],
                help_text="rename one of the tasks",
            )
        self._tasks[definition.name] = definition

    def add_builder(self, builder: WorkflowBuilder) -> None:
        """Add a workflow builder. One that is defined again in an interactive session replaces the first."""
        retyped = [
            known
            for known in self.builders
            if are_retyped(known.fn, builder.fn) and name_of(known.fn) == name_of(builder.fn)
        ]
        self.builders = [*(known for known in self.builders if known not in retyped), builder]

    def get(self, name: str) -> TaskDefinition:
        """Return the task of a name.

        Raises:
            HorsiesError: HRS-300: There is no task of that name. The help text suggests the most similar name.
        """
        found = self._tasks.get(name)
        if found is not None:
            return found
        raise HorsiesError(
            ErrorCode.TASK_NOT_REGISTERED,
            f"there is no task named {name!r}",
            notes=[f"registered tasks: {', '.join(self.names) or 'none'}"],
            help_text=suggest(name, self._tasks) or "add the module that defines the task to discover_tasks()",
        )

    def result_codec(self, name: str) -> ResultCodec:
        """Return the codec for results of the task of that name, or one for plain JSON if this app lacks the task."""
        known = self._tasks.get(name)
        return PLAIN_RESULTS if known is None else known.result

    def read_args(self, name: str, stored: bytes) -> Any:
        """Decode stored arguments of the task of that name, by parameter name.

        Return plain JSON if this app lacks the task or the arguments do not fit its signature.
        """
        known = self._tasks.get(name)
        return plain_args(name, stored) if known is None else known.read_args(name, stored)

    def has(self, definition: TaskDefinition) -> bool:
        """Whether the task belongs to this registry, or has the same source as one that does."""
        known = self._tasks.get(definition.name)
        return known is not None and known.is_same_source(definition)

    def __contains__(self, name: object) -> bool:
        """Whether a task of that name is registered."""
        return name in self._tasks

    @property
    def names(self) -> list[str]:
        """The names of all tasks, sorted."""
        return sorted(self._tasks)
