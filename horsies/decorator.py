"""The type of the decorator `@app.task`, and the checks of its options."""

import inspect
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Concatenate, Protocol, TypedDict, cast, overload

from horsies.codec.problems import show_value
from horsies.codec.secrets import parse_path
from horsies.codec.signature import SignatureCodec, function_location
from horsies.codec.wire import ResultCodec
from horsies.config.app import AppConfig
from horsies.config.queues import QueueMode
from horsies.config.unique import Unique
from horsies.errors import ErrorCode, HorsiesError, SourceLocation, TaskDefinitionError, caller_location, raise_all
from horsies.task import TaskFunction, wrong_function
from horsies.task_result import TaskError, TaskResult
from horsies.tasks.own_transaction import OwnTransaction, own_transaction_of
from horsies.tasks.registry import wrong_timeout

_ELSEWHERE = {
    "good_until": "set it for each send: task.with_options(good_until=…)",
    "delay": "set it for each send: task.with_options(delay=…) or task.schedule(seconds, …)",
    "priority": "set it for each send: task.with_options(priority=…)",
    "key": "set it for each send: task.with_options(key=…), or name the parameters: key_by=…",
    "idempotency_key": "set it for each send: task.with_options(idempotency_key=…)",
    "on_conflict": "set it in the uniqueness: unique=Unique(on_conflict=…)",
    "auto_retry_for": "set it in the retry policy: retry_policy=RetryPolicy(auto_retry_for=[…])",
    "max_retries": "set it in the retry policy: retry_policy=RetryPolicy(max_retries=…)",
}

_OPTIONS = (
    "queue_name, retry_policy, exception_mapper, default_unhandled_error_code, timeout_ms, unique, key_by, redact "
    "and transactional"
)


class TaskDecorator(Protocol):
    """The decorator that `Horsies.task` returns. It turns a function that returns a `TaskResult` into a task."""

    @overload
    def __call__[**P, T, E: TaskError](
        self, fn: Callable[P, Coroutine[Any, Any, TaskResult[T, E]]], /
    ) -> TaskFunction[P, T, E, Coroutine[Any, Any, TaskResult[T, E]]]: ...

    @overload
    def __call__[**P, T, E: TaskError](
        self, fn: Callable[P, TaskResult[T, E]], /
    ) -> TaskFunction[P, T, E, TaskResult[T, E]]: ...


class TransactionalDecorator(Protocol):
    """The decorator that ``app.task(…, transactional=True)`` returns.

    The worker provides the first argument of the function, of type ``C``. Sends and nodes take the other parameters; a
    direct call takes all of them.
    """

    @overload
    def __call__[C, **P, T, E: TaskError](
        self, fn: Callable[Concatenate[C, P], Coroutine[Any, Any, TaskResult[T, E]]], /
    ) -> TaskFunction[P, T, E, Coroutine[Any, Any, TaskResult[T, E]], Concatenate[C, P]]: ...

    @overload
    def __call__[C, **P, T, E: TaskError](
        self, fn: Callable[Concatenate[C, P], TaskResult[T, E]], /
    ) -> TaskFunction[P, T, E, TaskResult[T, E], Concatenate[C, P]]: ...


def wrong_queue(config: AppConfig, task_name: str, queue_name: str | None) -> list[HorsiesError]:
    """Return the error of a task whose queue the app does not have (HRS-103)."""
    known = config.queue_names()
    if config.queue_mode is QueueMode.DEFAULT and queue_name is not None:
        problem = f"task {task_name!r} names the queue {queue_name!r}, but the app has only the default queue"
        fix = "remove queue_name, or configure queue_mode=QueueMode.CUSTOM and custom_queues"
    elif config.queue_mode is QueueMode.CUSTOM and queue_name not in known:
        problem = f"task {task_name!r} names " + (f"the unknown queue {queue_name!r}" if queue_name else "no queue")
        fix = f"pass one of these queues as queue_name=: {', '.join(known)}"
    else:
        return []
    return [TaskDefinitionError(ErrorCode.TASK_INVALID_QUEUE, problem, help_text=fix)]


def wrong_options(
    task_name: object, fn: object, timeout_ms: object, unique: object, unknown: dict[str, object]
) -> list[TaskDefinitionError]:
    """Return the errors of a task: its name, function and options (HRS-102, HRS-104, HRS-106)."""
    options = ErrorCode.TASK_INVALID_OPTIONS
    found: list[tuple[ErrorCode, str, str]] = []
    if not isinstance(task_name, str) or not task_name:
        found.append((options, "the task has no name", 'pass a name, for example @app.task("send_mail")'))
    problem = wrong_timeout(timeout_ms)
    if problem is not None:
        found.append((options, problem, "the unit is milliseconds"))
    problem = _wrong_unique(fn, unique)
    if problem is not None:
        found.append((options, f"task {task_name!r} {problem}", 'for example unique=Unique(by=("user_id",))'))
    known = f"the options are {_OPTIONS}"
    found += [(options, f"@app.task has no option {name!r}", _ELSEWHERE.get(name, known)) for name in unknown]
    unsuitable = wrong_function(fn)
    if unsuitable is not None:
        code, problem, fix = unsuitable
        found.append((code, f"task {task_name!r} {problem}", fix))
    return [TaskDefinitionError(code, problem, help_text=fix) for code, problem, fix in found]


def _wrong_transactional(transactional: object) -> list[TaskDefinitionError]:
    """Return the error of an option ``transactional`` that is no boolean (HRS-102)."""
    if isinstance(transactional, bool):
        return []
    problem = f"transactional must be True or False, got {show_value(transactional)}"
    help_text = "write transactional=True, or omit the option"
    return [TaskDefinitionError(ErrorCode.TASK_INVALID_OPTIONS, problem, help_text=help_text)]


def _wrong_unique(fn: object, unique: object) -> str | None:
    """Return why the option ``unique`` is invalid, or None if it is valid."""
    if unique is None:
        return None
    if not isinstance(unique, Unique):
        return f"has unique={unique!r}, which is not a Unique"
    if not inspect.isfunction(fn):
        return None
    unknown = [name for name in unique.by or () if name not in inspect.signature(fn).parameters]
    return f"is unique by {unknown[0]!r}, but has no such parameter" if unknown else None


def wrong_parameters(task_name: str, fn: object, key_by: object, redact: object) -> list[TaskDefinitionError]:
    """Return the errors of the options ``key_by`` and ``redact``, which name parameters (HRS-102)."""
    return [*_wrong_key_by(task_name, fn, key_by), *_wrong_redact(task_name, redact)]


def _wrong_key_by(task_name: str, fn: object, key_by: object) -> list[TaskDefinitionError]:
    if key_by is None:
        return []
    names = cast("tuple[object, ...]", key_by) if isinstance(key_by, tuple) else (key_by,)
    if not names or not all(isinstance(name, str) for name in names):
        problem = "which is neither the name of a parameter nor a tuple of names"
    elif inspect.isfunction(fn) and not set(names) <= inspect.signature(fn).parameters.keys():
        problem = "but no such parameter"
    else:
        return []
    message = f"task {task_name!r} has key_by={show_value(names)}, {problem}"
    return [TaskDefinitionError(ErrorCode.TASK_INVALID_OPTIONS, message, help_text='for example key_by="tenant_id"')]


def _wrong_redact(task_name: str, redact: object) -> list[TaskDefinitionError]:
    paths: object = redact
    if isinstance(redact, list | tuple):
        paths = cast("Sequence[object]", redact)
        if all(isinstance(path, str) and all(path.split(".")) for path in paths):
            return []
    message = f"task {task_name!r} has redact={show_value(paths)}, which is not a list of paths to arguments"
    return [
        TaskDefinitionError(ErrorCode.TASK_INVALID_OPTIONS, message, help_text='for example redact=["card.number"]')
    ]


def _wrong_secrets(
    signature: SignatureCodec, redact: Sequence[str], key_by: str | tuple[str, ...] | None
) -> list[TaskDefinitionError]:
    """Return the errors of paths that lead nowhere, and of keys that would show secrets (HRS-102)."""
    found: list[tuple[str, str]] = []
    for path in redact:
        if not signature.has_argument(parse_path(path)):
            fix = (
                f"the parameters are {', '.join(signature.parameters) or 'none'}; a path continues with names of fields"
            )
            found.append((f"{signature.name}() has redact=[{path!r}], but its arguments have no such part", fix))
    names = (key_by,) if isinstance(key_by, str) else key_by or ()
    for name in names:
        if name in signature.secret_parameters():
            fix = "name a parameter without secrets: keys are shown to everyone who may see tasks"
            found.append((f"{signature.name}() has key_by={name!r}, but this argument is secret", fix))
    options = ErrorCode.TASK_INVALID_OPTIONS
    return [TaskDefinitionError(options, problem, help_text=fix) for problem, fix in found]


def task_location(fn: object) -> SourceLocation | None:
    """Return the line that defines a function; for any other object, the line of the caller's code."""
    return function_location(fn) if inspect.isfunction(fn) else caller_location()


def raise_at(location: SourceLocation | None, problems: Sequence[HorsiesError]) -> None:
    """Raise the errors of a task, if there are any; those without a location get this one."""
    for problem in problems:
        problem.location = problem.location or location
    raise_all(problems)


def missing_parentheses(fn: Callable[..., Any]) -> TaskDefinitionError:
    """Return the error of ``@app.task`` without parentheses, where the function takes the place of the name."""
    return TaskDefinitionError(
        ErrorCode.TASK_INVALID_OPTIONS,
        f"@app.task on {fn.__name__}() has no parentheses, so the task has no name",
        location=task_location(fn),
        help_text=f'write @app.task("{fn.__name__}")',
    )


class FunctionParts(TypedDict):
    """The parts of a `TaskDefinition` that come from the function of the task."""

    fn: Callable[..., Any]
    is_async: bool
    own_transaction: OwnTransaction | None
    signature: SignatureCodec
    key_by: str | tuple[str, ...] | None
    result: ResultCodec
    location: SourceLocation


def read_function(
    fn: Callable[..., Any],
    localns: Mapping[str, Any] | None,
    *,
    transactional: bool,
    redact: Sequence[str],
    key_by: str | tuple[str, ...] | None,
) -> FunctionParts:
    """Read the function of a task.

    Args:
        fn: The function.
        localns: The local names at its definition, for annotations that are strings.
        transactional: Whether the worker provides its first argument, which is then not part of the signature.
        redact: The paths to secret arguments.
        key_by: The parameters that make the key of the task.

    Raises:
        TaskDefinitionError: HRS-100, HRS-101, HRS-102 or HRS-105.
    """
    raise_at(task_location(fn), _wrong_transactional(transactional))
    own_transaction = own_transaction_of(fn, localns, transactional=transactional)
    paths = [parse_path(path) for path in redact]
    signature = SignatureCodec(fn, localns, skip=0 if own_transaction is None else 1, redact=paths)
    raise_at(task_location(fn), _wrong_secrets(signature, redact, key_by))
    return {
        "fn": fn,
        "is_async": inspect.iscoroutinefunction(fn),
        "own_transaction": own_transaction,
        "signature": signature,
        "key_by": key_by,
        "result": ResultCodec.of(fn, localns),
        "location": function_location(fn),
    }
