"""`TaskFunction`: what `@app.task` makes of a function."""

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Unpack, cast
from uuid import UUID

from horsies.db.operations import UNSET, Operation
from horsies.handle import TaskHandle, parse_id
from horsies.outcome import TaskError, TaskResult
from horsies.registry import TaskDefinition
from horsies.sending import (
    Producer,
    SendKind,
    SendRequest,
    TaskSendError,
    TaskSendOptions,
    TaskSendResult,
    resend,
    send,
)
from horsies.workflows.nodes import MapFactory, NodeFactory, NodeOptions

if TYPE_CHECKING:
    from collections.abc import Callable


class TaskSender[**P, T]:
    """Sends one task with fixed options.

    No method here raises for bad arguments or a database that is away: both are an `Err` with a `TaskSendError`.
    """

    def __init__(self, definition: TaskDefinition, producer: Producer, options: TaskSendOptions) -> None:
        """Made by `@app.task` and `TaskFunction.with_options`."""
        self.definition = definition
        self.producer = producer
        self._options = options

    def send(self, *args: P.args, **kwargs: P.kwargs) -> TaskSendResult[TaskHandle[T]]:
        """Enqueue the task."""
        return self.producer.runner.run(self._send("send", self._options, args, kwargs))

    async def send_async(self, *args: P.args, **kwargs: P.kwargs) -> TaskSendResult[TaskHandle[T]]:
        """The same as `send`, awaited."""
        return await self.producer.runner.run_async(self._send("send", self._options, args, kwargs))

    def schedule(self, delay_s: float, /, *args: P.args, **kwargs: P.kwargs) -> TaskSendResult[TaskHandle[T]]:
        """Enqueue the task to be claimable after ``delay_s`` seconds."""
        return self.producer.runner.run(self._send("schedule", replace(self._options, delay=delay_s), args, kwargs))

    async def schedule_async(
        self, delay_s: float, /, *args: P.args, **kwargs: P.kwargs
    ) -> TaskSendResult[TaskHandle[T]]:
        """The same as `schedule`, awaited."""
        operation = self._send("schedule", replace(self._options, delay=delay_s), args, kwargs)
        return await self.producer.runner.run_async(operation)

    def _send(
        self, kind: SendKind, options: TaskSendOptions, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> Operation[TaskSendResult[TaskHandle[T]]]:
        return send(self.producer, SendRequest(self.definition, kind, options, args, kwargs), self._handle)

    def _handle(self, task_id: UUID) -> TaskHandle[T]:
        codec = self.definition.result
        is_committed = self._options.connection is UNSET
        return TaskHandle(str(task_id), self.producer.runner, lambda _name: codec, is_committed=is_committed)


class TaskFunction[**P, T, R = TaskResult[T, TaskError]](TaskSender[P, T]):
    """A task: call it to run it here and now, `send` it to have a worker run it.

    Typed with the function's own parameters ``P`` and its result ``T``. ``R`` is what a direct call returns: the
    `TaskResult`, or an awaitable of it for an ``async def``.
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
        """Run the function in this process: no queue, no retry, no record."""
        return cast("Callable[P, R]", self.definition.fn)(*args, **kwargs)

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
    ) -> TaskSender[P, T]:
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

    def node(self, **options: Unpack[NodeOptions]) -> NodeFactory[P, T]:
        """Begin a node of a workflow: ``resize.node(node_id="small")(from_node(load), size=100)``.

        The options are those of a `TaskNode`. What is returned takes the task's own arguments, any of which may be a
        `from_node`.
        """
        return NodeFactory(self, options)

    def map(
        self, over: TaskResult[Any, TaskError], max_parallel: int | None = None, **options: Unpack[NodeOptions]
    ) -> MapFactory[T]:
        """Begin a node that runs the task once for each item of a list: ``resize.map(over=from_node(found))(size=9)``.

        Args:
            over: `from_node` of a node that returns a list.
            max_parallel: so many of its tasks are live at once; None: all.
            options: those of a `TaskNode`.

        Returns:
            What takes the arguments that all items share, by keyword. The one required parameter that is left out
            gets the item.
        """
        return MapFactory(self, over, max_parallel, options)

    def handle(self, task_id: str) -> TaskHandle[T]:
        """A handle, typed by this task, of an id.

        Raises:
            ValueError: ``task_id`` is not a UUID.
        """
        return self._handle(parse_id(task_id))

    def retry_send(self, error: TaskSendError) -> TaskSendResult[TaskHandle[T]]:
        """Replay a `send` that failed with ENQUEUE_FAILED; one task at most comes of it, however often."""
        return self.producer.runner.run(self._resend(error, "send"))

    async def retry_send_async(self, error: TaskSendError) -> TaskSendResult[TaskHandle[T]]:
        """The same as `retry_send`, awaited."""
        return await self.producer.runner.run_async(self._resend(error, "send"))

    def retry_schedule(self, error: TaskSendError) -> TaskSendResult[TaskHandle[T]]:
        """Replay a `schedule` that failed with ENQUEUE_FAILED."""
        return self.producer.runner.run(self._resend(error, "schedule"))

    async def retry_schedule_async(self, error: TaskSendError) -> TaskSendResult[TaskHandle[T]]:
        """The same as `retry_schedule`, awaited."""
        return await self.producer.runner.run_async(self._resend(error, "schedule"))

    def _resend(self, error: TaskSendError, kind: SendKind) -> Operation[TaskSendResult[TaskHandle[T]]]:
        return resend(error, kind, self.definition, self._handle)


type AnyTask = TaskFunction[..., Any, Any]
