"""`TaskFunction`: what `@app.task` makes of a function."""

import functools
import inspect
from dataclasses import replace
from datetime import datetime
from types import FunctionType
from typing import TYPE_CHECKING, Any, Unpack, cast
from uuid import UUID

from horsies.codec.problems import CodecError
from horsies.codes import OperationalErrorCode
from horsies.db.operations import UNSET, Operation
from horsies.errors import ErrorCode
from horsies.producer.handle import TaskHandle
from horsies.producer.send import (
    Producer,
    SendKind,
    SendRequest,
    TaskSendError,
    TaskSendOptions,
    TaskSendResult,
    resend,
    send,
)
from horsies.task_result import TaskError, TaskResult, failed_with
from horsies.tasks.registry import TaskDefinition
from horsies.workflows.builders import MapFactory, NodeFactory, NodeOptions
from horsies.workflows.nodes import FILLED_IN

if TYPE_CHECKING:
    from collections.abc import Callable


def wrong_function(fn: object) -> tuple[ErrorCode, str, str] | None:
    """Say why no task can be made of something: code, problem and fix; None if one can."""
    if isinstance(fn, TaskFunction) or (inspect.isfunction(fn) and hasattr(fn, "__wrapped__")):
        problem = "is made of something that another decorator already wrapped"
        fix = "put @app.task directly on the function, and other decorators inside or not at all"
        return ErrorCode.TASK_PREDECORATED_NOT_SUPPORTED, problem, fix
    problem, fix = _unsuitable_object(fn) or _unsuitable_function(cast("FunctionType", fn)) or ("", "")
    return (ErrorCode.TASK_INVALID_FUNCTION, problem, fix) if problem else None


def _unsuitable_object(fn: object) -> tuple[str, str] | None:
    at_module_level = "define a function at the top level of a module that makes the call, and decorate that"
    if isinstance(fn, functools.partial | functools.partialmethod):
        return "is made of a functools.partial, not of a function", at_module_level
    if isinstance(fn, staticmethod):
        return "is made of a staticmethod object", "put @staticmethod above @app.task(…), or leave the class"
    if isinstance(fn, classmethod) or inspect.ismethod(fn):
        return "is made of a method, whose object or class a worker does not have", at_module_level
    if inspect.isfunction(fn):
        return None
    return f"is made of a {'class' if isinstance(fn, type) else type(fn).__name__}, not of a function", at_module_level


def _unsuitable_function(fn: FunctionType) -> tuple[str, str] | None:
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        fix = "return all of the result at once, and tell how far it is with current_task().progress(done, total)"
        return f"is made of a generator: {fn.__name__}() has a yield, so calling it runs nothing", fix
    first = next(iter(inspect.signature(fn).parameters.values()), None)
    if first is None or first.name not in {"self", "cls"} or first.annotation is not inspect.Parameter.empty:
        return None
    if "." in fn.__qualname__.rpartition("<locals>.")[2]:
        problem = f"is made of the method {fn.__qualname__}(), for whose parameter {first.name!r} a worker has no value"
        return problem, "define it at the top level of the module, and pass what it needs of the object as arguments"
    problem = f"has the parameter {first.name!r}, for which a worker has no value"
    return problem, "remove it: current_task() has the id, the attempt and the queue of the task that runs"


class TaskSender[**P, T, E: TaskError = TaskError]:
    """Sends one task with fixed options.

    No method here raises for bad arguments or a database that is away: both are an `Err` with a `TaskSendError`.
    """

    def __init__(self, definition: TaskDefinition, producer: Producer, options: TaskSendOptions) -> None:
        """Made by `@app.task` and `TaskFunction.with_options`."""
        self.definition = definition
        self.producer = producer
        self._options = options

    def send(self, *args: P.args, **kwargs: P.kwargs) -> TaskSendResult[TaskHandle[T, E]]:
        """Enqueue the task."""
        return self.producer.runner.run(self._send("send", self._options, args, kwargs))

    async def send_async(self, *args: P.args, **kwargs: P.kwargs) -> TaskSendResult[TaskHandle[T, E]]:
        """The same as `send`, awaited."""
        return await self.producer.runner.run_async(self._send("send", self._options, args, kwargs))

    def schedule(self, delay_s: float, /, *args: P.args, **kwargs: P.kwargs) -> TaskSendResult[TaskHandle[T, E]]:
        """Enqueue the task to be claimable after ``delay_s`` seconds."""
        return self.producer.runner.run(self._send("schedule", replace(self._options, delay=delay_s), args, kwargs))

    async def schedule_async(
        self, delay_s: float, /, *args: P.args, **kwargs: P.kwargs
    ) -> TaskSendResult[TaskHandle[T, E]]:
        """The same as `schedule`, awaited."""
        operation = self._send("schedule", replace(self._options, delay=delay_s), args, kwargs)
        return await self.producer.runner.run_async(operation)

    def _send(
        self, kind: SendKind, options: TaskSendOptions, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> Operation[TaskSendResult[TaskHandle[T, E]]]:
        return send(self.producer, SendRequest(self.definition, kind, options, args, kwargs), self._handle)

    def _handle(self, task_id: UUID | str) -> TaskHandle[T, E]:
        definition = self.definition
        return TaskHandle(
            str(task_id),
            self.producer.runner,
            lambda _name: definition.result,
            args_for=definition.read_args,
            is_committed=self._options.connection is UNSET,
        )


class TaskFunction[**P, T, E: TaskError = TaskError, R = TaskResult[T, E]](TaskSender[P, T, E]):
    """A task: call it to run it here and now, `send` it to have a worker run it.

    Typed with the function's own parameters ``P`` and its result, a ``TaskResult[T, E]``. ``R`` is what a direct call
    returns: the `TaskResult`, or an awaitable of it for an ``async def``.
    """

    def __init__(self, definition: TaskDefinition, producer: Producer) -> None:
        """Made by `@app.task`."""
        super().__init__(definition, producer, TaskSendOptions())
        self.__name__ = definition.fn.__name__
        self.__qualname__ = definition.fn.__qualname__
        self.__module__ = definition.fn.__module__
        self.__doc__ = definition.fn.__doc__
        self.__wrapped__ = definition.fn

    def __repr__(self) -> str:
        """Show the task's name."""
        return f"<task {self.definition.name!r}>"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function in this process: no queue, no retry, no record.

        Arguments and result are checked as for a run in a worker, and a mismatch is the error that the worker would
        report. Arguments that do not bind, do not fit or could not be sent are WORKER_SERIALIZATION_ERROR; the function
        is not called then. A result is RETURN_TYPE_MISMATCH, TASK_EXCEPTION or WORKER_SERIALIZATION_ERROR. Exceptions
        of the function propagate. ``task.__wrapped__`` is the function itself, without checks.
        """
        call = self._call_async if self.definition.is_async else self._call
        return cast("Callable[[tuple[Any, ...], dict[str, Any]], R]", call)(args, kwargs)

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> TaskResult[Any, TaskError]:
        call = self._checked(args, kwargs)
        return call if isinstance(call, TaskResult) else self._concluded(self.definition.fn(*call[0], **call[1]))

    async def _call_async(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> TaskResult[Any, TaskError]:
        call = self._checked(args, kwargs)
        return call if isinstance(call, TaskResult) else self._concluded(await self.definition.fn(*call[0], **call[1]))

    def _checked(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | TaskResult[Any, TaskError]:
        """The arguments as a worker would pass them, or the error of the worker that could not pass them.

        Arguments for the parameters that a worker fills in are passed as they are.
        """
        try:
            return self.definition.signature.check_call(args, kwargs, exempt=FILLED_IN)
        except CodecError as error:
            return failed_with(OperationalErrorCode.WORKER_SERIALIZATION_ERROR, str(error))

    def _concluded(self, returned: object) -> TaskResult[Any, TaskError]:
        encoded = self.definition.encode_outcome(returned)
        if isinstance(encoded, TaskError):
            return TaskResult(err=encoded)
        return cast("TaskResult[Any, TaskError]", returned)

    @property
    def task_name(self) -> str:
        """The name under which workers know the task."""
        return self.definition.name

    def with_options(
        self,
        *,
        good_until: datetime | None = None,
        delay: float = 0.0,
        priority: int | None = None,
        connection: object = UNSET,
    ) -> TaskSender[P, T, E]:
        """Options for one send, which the methods of the returned sender apply.

        Args:
            good_until: an aware time; a task not started by then ends EXPIRED.
            delay: seconds until the task may be claimed.
            priority: 1 (first) to 100.
            connection: one of your own, in whose open transaction the task is sent: it is there for workers once you
                commit, and not at all if you roll back. A psycopg `Connection` or `AsyncConnection`, an asyncpg
                `Connection`, a SQLAlchemy `Connection`, `Session`, `AsyncConnection` or `AsyncSession`, or Django's
                `connection`. It must lead to the app's own database. None is refused: leave the option out instead.
        """
        return TaskSender(self.definition, self.producer, TaskSendOptions(good_until, delay, priority, connection))

    def node(self, **options: Unpack[NodeOptions]) -> NodeFactory[P, T, E]:
        """Begin a node of a workflow: ``resize.node(node_id="small")(from_node(load), size=100)``.

        The options are those of a `TaskNode`. What is returned takes the task's own arguments, any of which may be a
        `from_node`; they are merged with the options ``kwargs`` and ``args_from``.

        Raises:
            WorkflowValidationError: HRS-102, there is no such option; several at once as `MultipleValidationErrors`.
        """
        return NodeFactory(self, options)

    def map(
        self, over: TaskResult[Any, TaskError], max_parallel: int | None = None, **options: Unpack[NodeOptions]
    ) -> MapFactory[T, E]:
        """Begin a node that runs the task once for each item of a list: ``resize.map(over=from_node(found))(size=9)``.

        Args:
            over: `from_node` of a node that returns a list.
            max_parallel: so many of its tasks are live at once; None: all.
            options: those of a `TaskNode`.

        Returns:
            What takes the arguments that all items share, by keyword. The one required parameter that is left out
            gets the item.

        Raises:
            WorkflowValidationError: HRS-102, there is no such option; several at once as `MultipleValidationErrors`.
        """
        return MapFactory(self, over, max_parallel, options)

    def handle(self, task_id: str) -> TaskHandle[T, E]:
        """A handle, typed by this task, of an id."""
        return self._handle(task_id)

    def retry_send(self, error: TaskSendError) -> TaskSendResult[TaskHandle[T, E]]:
        """Replay a `send` that failed with ENQUEUE_FAILED; one task at most comes of it, however often."""
        return self.producer.runner.run(self._resend(error, "send"))

    async def retry_send_async(self, error: TaskSendError) -> TaskSendResult[TaskHandle[T, E]]:
        """The same as `retry_send`, awaited."""
        return await self.producer.runner.run_async(self._resend(error, "send"))

    def retry_schedule(self, error: TaskSendError) -> TaskSendResult[TaskHandle[T, E]]:
        """Replay a `schedule` that failed with ENQUEUE_FAILED."""
        return self.producer.runner.run(self._resend(error, "schedule"))

    async def retry_schedule_async(self, error: TaskSendError) -> TaskSendResult[TaskHandle[T, E]]:
        """The same as `retry_schedule`, awaited."""
        return await self.producer.runner.run_async(self._resend(error, "schedule"))

    def _resend(self, error: TaskSendError, kind: SendKind) -> Operation[TaskSendResult[TaskHandle[T, E]]]:
        return resend(error, kind, self.definition, self._handle)


type AnyTask = TaskFunction[..., Any, Any, Any]
