"""`TaskFunction`: the object into which `@app.task` turns a function."""

import functools
import inspect
from dataclasses import replace
from datetime import datetime
from types import FunctionType
from typing import TYPE_CHECKING, Any, Unpack, cast

from horsies.codec.problems import CodecError
from horsies.codes import OperationalErrorCode
from horsies.config.unique import Unique
from horsies.db.operations import UNSET, Operation, Unset
from horsies.errors import ErrorCode
from horsies.producer.bulk import resend_many, send_many
from horsies.producer.calls import AsyncCallItems, CallItems, TaskCall, given_options, handle_maker
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
from horsies.task_result import TaskError, TaskResult, failed_with, with_answer
from horsies.tasks.registry import TaskDefinition
from horsies.workflows.builders import MapFactory, NodeFactory, NodeOptions
from horsies.workflows.nodes import FILLED_IN

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID


def wrong_function(fn: object) -> tuple[ErrorCode, str, str] | None:
    """Return why an object cannot become a task, as error code, problem and fix; None if it can."""
    if isinstance(fn, TaskFunction) or (inspect.isfunction(fn) and hasattr(fn, "__wrapped__")):
        problem = "is defined on a function that another decorator already wrapped"
        fix = "apply @app.task directly to the function, and call wrapped functions inside it"
        return ErrorCode.TASK_PREDECORATED_NOT_SUPPORTED, problem, fix
    problem, fix = _unsuitable_object(fn) or _unsuitable_function(cast("FunctionType", fn)) or ("", "")
    return (ErrorCode.TASK_INVALID_FUNCTION, problem, fix) if problem else None


def _unsuitable_object(fn: object) -> tuple[str, str] | None:
    at_module_level = "define a function at the top level of a module that makes the call, and decorate that function"
    if isinstance(fn, functools.partial | functools.partialmethod):
        return "is defined on a functools.partial instead of a function", at_module_level
    if isinstance(fn, staticmethod):
        return (
            "is defined on a staticmethod object",
            "put @staticmethod above @app.task(…), or move it out of the class",
        )
    if isinstance(fn, classmethod) or inspect.ismethod(fn):
        return "is defined on a method, but a worker has neither its object nor its class", at_module_level
    if inspect.isfunction(fn):
        return None
    kind = "class" if isinstance(fn, type) else type(fn).__name__
    return f"is defined on a {kind} instead of a function", at_module_level


def _unsuitable_function(fn: FunctionType) -> tuple[str, str] | None:
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        fix = "return the whole result at once, and report progress with current_task().progress(done, total)"
        return f"is defined on a generator function: {fn.__name__}() contains yield, so calling it does not run it", fix
    first = next(iter(inspect.signature(fn).parameters.values()), None)
    if first is None or first.name not in {"self", "cls"} or first.annotation is not inspect.Parameter.empty:
        return None
    if "." in fn.__qualname__.rpartition("<locals>.")[2]:
        problem = f"is defined on the method {fn.__qualname__}(), but a worker has no value for its {first.name!r}"
        return problem, "define it at the top level of the module, and pass the data that it needs as arguments"
    problem = f"has the parameter {first.name!r}, for which a worker has no value"
    return problem, "remove it: current_task() has the id, the attempt and the queue of the running task"


class TaskSender[**P, T, E: TaskError = TaskError]:
    """Sends one task with fixed options. `@app.task` and `TaskFunction.with_options` make it.

    Its methods do not raise for invalid arguments or database errors: both are an `Err` with a `TaskSendError`.
    """

    def __init__(self, definition: TaskDefinition, producer: Producer, options: TaskSendOptions) -> None:
        self.definition = definition
        self.producer = producer
        self._options = options
        self._handle = cast(
            "Callable[[UUID | str], TaskHandle[T, E]]", handle_maker(definition, producer.runner, options.connection)
        )

    def send(self, *args: P.args, **kwargs: P.kwargs) -> TaskSendResult[TaskHandle[T, E]]:
        """Enqueue the task, and return its handle. The parameters are those of the task's function."""
        return self.producer.runner.run(self._send("send", self._options, args, kwargs))

    async def send_async(self, *args: P.args, **kwargs: P.kwargs) -> TaskSendResult[TaskHandle[T, E]]:
        """Like `send`, for asyncio."""
        return await self.producer.runner.run_async(self._send("send", self._options, args, kwargs))

    def schedule(self, delay_s: float, /, *args: P.args, **kwargs: P.kwargs) -> TaskSendResult[TaskHandle[T, E]]:
        """Enqueue the task with a delay: no worker claims it before ``delay_s`` seconds have passed."""
        return self.producer.runner.run(self._send("schedule", replace(self._options, delay=delay_s), args, kwargs))

    async def schedule_async(
        self, delay_s: float, /, *args: P.args, **kwargs: P.kwargs
    ) -> TaskSendResult[TaskHandle[T, E]]:
        """Like `schedule`, for asyncio."""
        operation = self._send("schedule", replace(self._options, delay=delay_s), args, kwargs)
        return await self.producer.runner.run_async(operation)

    def args(self, *args: P.args, **kwargs: P.kwargs) -> TaskCall[T, E]:
        """Return a call of the task with these arguments, for `send_many`. The call is checked when it is sent."""
        return TaskCall(self.producer, self.definition, given_options(self._options), args, kwargs)

    def send_many(self, items: CallItems[T, E]) -> TaskSendResult[list[TaskHandle[T, E]]]:
        """Enqueue many tasks in one transaction: all of them or none.

        The items are read lazily, also from a generator, and at most 10,000 tasks or 16 MB are encoded at a time. If
        there are more, the transaction stays open while further items are read. The server ends it if the items of a
        batch take longer than a minute. An exception of the iterator rolls everything back and propagates.

        Args:
            items: Tuples of positional arguments, dicts of keyword arguments, or calls that `args` makes. Type checkers
                only check the arguments of calls.

        Returns:
            The handles in the order of the items. If an item cannot be sent, no task is sent:
            `TaskSendError.item_index` and the message name the item.
        """
        return self.producer.runner.run(self._send_many(items))

    async def send_many_async(
        self, items: CallItems[T, E] | AsyncCallItems[T, E]
    ) -> TaskSendResult[list[TaskHandle[T, E]]]:
        """Like `send_many`, for asyncio. The items may come from an asynchronous iterable."""
        return await self.producer.runner.run_async(self._send_many(items))

    def _send_many(self, items: object) -> Operation[TaskSendResult[list[TaskHandle[T, E]]]]:
        return send_many(self.producer, self.definition, self._options, items)

    def _send(
        self, kind: SendKind, options: TaskSendOptions, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> Operation[TaskSendResult[TaskHandle[T, E]]]:
        return send(self.producer, SendRequest(self.definition, kind, options, args, kwargs), self._handle)


class TaskFunction[**P, T, E: TaskError = TaskError, R = TaskResult[T, E], **D = P](TaskSender[P, T, E]):
    """A task. Call it to run it in this process, or `send` it to run it in a worker. `@app.task` makes it.

    It is typed with the parameters ``P`` of the function and its result, a ``TaskResult[T, E]``. ``R`` is the return
    type of a direct call: the `TaskResult`, or a coroutine of it for an ``async def`` function. ``D`` are the
    parameters of a direct call: for a transactional task, the connection comes first.
    """

    def __init__(self, definition: TaskDefinition, producer: Producer) -> None:
        super().__init__(definition, producer, TaskSendOptions())
        self.__name__ = definition.fn.__name__
        self.__qualname__ = definition.fn.__qualname__
        self.__module__ = definition.fn.__module__
        self.__doc__ = definition.fn.__doc__
        self.__wrapped__ = definition.fn

    def __repr__(self) -> str:
        """Show the task's name."""
        return f"<task {self.definition.name!r}>"

    def __call__(self, *args: D.args, **kwargs: D.kwargs) -> R:
        """Run the function in this process, without queue, retries and records.

        Arguments and result are checked as in a worker, and a mismatch gives the error that the worker would report.
        Arguments that do not bind, do not fit their types or cannot be sent give WORKER_SERIALIZATION_ERROR, and the
        function is not called. An invalid result gives RETURN_TYPE_MISMATCH, TASK_EXCEPTION or
        WORKER_SERIALIZATION_ERROR. Exceptions of the function propagate. ``task.__wrapped__`` is the function itself,
        without checks.

        A transactional task takes the connection or the session first. The caller's transaction is neither committed
        nor rolled back.
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
        """Return the arguments as a worker would pass them, or the error that a worker would report.

        Arguments for the parameters that a worker fills in are passed on unchecked, and so is the connection of a
        transactional task.
        """
        provided = 0 if self.definition.own_transaction is None else 1
        if len(args) < provided:
            message = f"{self.__name__}() is a transactional task: pass the connection as the first argument"
            return failed_with(OperationalErrorCode.WORKER_SERIALIZATION_ERROR, message)
        try:
            checked, by_name = self.definition.signature.check_call(args[provided:], kwargs, exempt=FILLED_IN)
            return (*args[:provided], *checked), by_name
        except CodecError as error:
            return failed_with(OperationalErrorCode.WORKER_SERIALIZATION_ERROR, str(error))

    def _concluded(self, returned: object) -> TaskResult[Any, TaskError]:
        returned = with_answer(returned)
        encoded = self.definition.encode_outcome(returned)
        if isinstance(encoded, TaskError):
            return TaskResult(err=encoded)
        return cast("TaskResult[Any, TaskError]", returned)

    @property
    def task_name(self) -> str:
        """The name of the task, under which it is sent and registered."""
        return self.definition.name

    def with_options(  # noqa: PLR0913 - one keyword an option
        self,
        *,
        good_until: datetime | None = None,
        delay: float = 0.0,
        priority: int | None = None,
        connection: object = UNSET,
        idempotency_key: str | None = None,
        unique: Unique | Unset | None = UNSET,
        key: str | Unset | None = UNSET,
    ) -> TaskSender[P, T, E]:
        """Return a sender that applies these options to each of its sends.

        Args:
            good_until: An aware datetime. A task that was not started by then ends EXPIRED. None: no expiry.
            delay: Seconds until the task may be claimed. Default: 0.
            priority: 1 (highest) to 100; None: the priority of the queue.
            connection: An open connection of the caller. The task is sent in its transaction: workers see the task
                after a commit, and never after a rollback. Supported are a psycopg `Connection` or `AsyncConnection`,
                an asyncpg `Connection`, a SQLAlchemy `Connection`, `Session`, `AsyncConnection` or `AsyncSession`, and
                Django's `connection`. It must be connected to the database of the app. None is rejected; omit the
                option instead.
            idempotency_key: 1 to 512 bytes of printable text. While the record of a task that was sent with this key
                exists, a send of the same task with the same key returns its handle instead of sending a second task.
                Other arguments are refused with PAYLOAD_MISMATCH.
            unique: Of which tasks at most one may be live, instead of what the task says; None: any number.
            key: 1 to 200 characters: for example the tenant, by which a queue limits tasks and lets them take turns. It
                replaces the key that ``key_by`` of the task makes; None: no key.
        """
        options = TaskSendOptions(good_until, delay, priority, connection, idempotency_key, unique, key)
        return TaskSender(self.definition, self.producer, options)

    def node(self, **options: Unpack[NodeOptions]) -> NodeFactory[P, T, E]:
        """Start a node of a workflow: ``resize.node(node_id="small")(from_node(load), size=100)``.

        The options are those of a `TaskNode`. The returned factory takes the arguments of the task, any of which may
        be a `from_node`. They are merged with the options ``kwargs`` and ``args_from``.

        Raises:
            WorkflowValidationError: HRS-102: An option does not exist. Several problems are raised together as
                `MultipleValidationErrors`.
        """
        return NodeFactory(self, options)

    def map(
        self, over: TaskResult[Any, TaskError], max_parallel: int | None = None, **options: Unpack[NodeOptions]
    ) -> MapFactory[T, E]:
        """Start a node that runs the task once for each item of a list: ``resize.map(over=from_node(found))(size=9)``.

        Args:
            over: `from_node` of a node that returns a list.
            max_parallel: The largest number of its tasks that are live at the same time; None: no limit.
            options: The options of a `TaskNode`.

        Returns:
            A factory that takes the arguments that all items share, by keyword. The one required parameter that is
            omitted gets the item.

        Raises:
            WorkflowValidationError: HRS-102: An option does not exist. Several problems are raised together as
                `MultipleValidationErrors`.
        """
        return MapFactory(self, over, max_parallel, options)

    def handle(self, task_id: str) -> TaskHandle[T, E]:
        """Return the handle of a task by its id, typed with the result of this task."""
        return self._handle(task_id)

    def retry_send(self, error: TaskSendError) -> TaskSendResult[TaskHandle[T, E]]:
        """Retry a `send` that failed with ENQUEUE_FAILED. Any number of retries creates at most one task."""
        return self.producer.runner.run(self._resend(error, "send"))

    async def retry_send_async(self, error: TaskSendError) -> TaskSendResult[TaskHandle[T, E]]:
        """Like `retry_send`, for asyncio."""
        return await self.producer.runner.run_async(self._resend(error, "send"))

    def retry_schedule(self, error: TaskSendError) -> TaskSendResult[TaskHandle[T, E]]:
        """Retry a `schedule` that failed with ENQUEUE_FAILED. Any number of retries creates at most one task."""
        return self.producer.runner.run(self._resend(error, "schedule"))

    async def retry_schedule_async(self, error: TaskSendError) -> TaskSendResult[TaskHandle[T, E]]:
        """Like `retry_schedule`, for asyncio."""
        return await self.producer.runner.run_async(self._resend(error, "schedule"))

    def retry_send_many(self, error: TaskSendError) -> TaskSendResult[list[TaskHandle[T, E]]]:
        """Retry a `send_many` that failed with ENQUEUE_FAILED. Any number of retries creates each task at most once."""
        return self.producer.runner.run(self._resend_many(error))

    async def retry_send_many_async(self, error: TaskSendError) -> TaskSendResult[list[TaskHandle[T, E]]]:
        """Like `retry_send_many`, for asyncio."""
        return await self.producer.runner.run_async(self._resend_many(error))

    def _resend_many(self, error: TaskSendError) -> Operation[TaskSendResult[list[TaskHandle[T, E]]]]:
        return resend_many(error, self.definition.name, lambda _name, task_id: self._handle(task_id))

    def _resend(self, error: TaskSendError, kind: SendKind) -> Operation[TaskSendResult[TaskHandle[T, E]]]:
        return resend(error, kind, self.definition, self._handle)


type AnyTask = TaskFunction[..., Any, Any, Any]
