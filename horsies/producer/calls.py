"""`TaskCall`: a task with arguments and options, to be sent together with others."""

from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any
from uuid import UUID

from horsies.codec.wire import ResultCodec
from horsies.config.unique import Unique
from horsies.db.operations import UNSET, Runner, Unset
from horsies.producer.handle import TaskHandle
from horsies.producer.send import Producer, TaskSendOptions
from horsies.task_result import TaskError
from horsies.tasks.registry import TaskDefinition


class TaskCall[T, E: TaskError = TaskError]:
    """A task with its arguments, made by `TaskFunction.args` and sent by ``send_many``.

    Its type has the result of the task: a ``TaskCall[T, E]`` becomes a ``TaskHandle[T, E]``.
    """

    __slots__ = ("args", "definition", "kwargs", "options", "producer")

    def __init__(
        self,
        producer: Producer,
        definition: TaskDefinition,
        options: Mapping[str, object],
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
    ) -> None:
        """Make a call; programs use `TaskFunction.args`.

        Args:
            producer: The producer of the app.
            definition: The task.
            options: Options of this call, which take precedence over those of ``send_many``; see `TaskSendOptions`.
            args: The positional arguments.
            kwargs: The keyword arguments.
        """
        self.producer = producer
        self.definition = definition
        self.options = options
        self.args = args
        self.kwargs = kwargs

    def __repr__(self) -> str:
        """Show the name of the task, without the arguments, which may be secret."""
        return f"<call of task {self.definition.name!r}>"

    def with_options(  # noqa: PLR0913 - one keyword an option
        self,
        *,
        good_until: datetime | Unset | None = UNSET,
        delay: float | Unset = UNSET,
        priority: int | Unset | None = UNSET,
        idempotency_key: str | Unset | None = UNSET,
        unique: Unique | Unset | None = UNSET,
        key: str | Unset | None = UNSET,
    ) -> "TaskCall[T, E]":
        """Return the same call with these options, which take precedence over those of ``send_many``.

        Args:
            good_until: An aware datetime. If the task was not started by then, it ends EXPIRED. None: no expiry.
            delay: Seconds until the task may be claimed.
            priority: 1 (highest) to 100; None: the priority of the queue.
            idempotency_key: A later send of the same task with this key returns the same task; None: no key.
            unique: Of which tasks at most one may be live; None: any number.
            key: The key of the task, instead of the one that its arguments make; None: no key.
        """
        given = {
            "good_until": good_until,
            "delay": delay,
            "priority": priority,
            "idempotency_key": idempotency_key,
            "unique": unique,
            "key": key,
        }
        options = {**self.options, **{name: value for name, value in given.items() if value is not UNSET}}
        return TaskCall(self.producer, self.definition, options, self.args, self.kwargs)


type CallItems[T, E: TaskError] = Iterable[tuple[Any, ...] | Mapping[str, Any] | TaskCall[T, E]]
"""The items of ``send_many``: tuples of positional arguments, dicts of keyword arguments, or calls."""

type AsyncCallItems[T, E: TaskError] = AsyncIterable[tuple[Any, ...] | Mapping[str, Any] | TaskCall[T, E]]
"""The same from an asynchronous iterable."""


def given_options(options: TaskSendOptions) -> dict[str, object]:
    """Return the options that differ from their defaults, by name."""
    default = TaskSendOptions()
    values = {each.name: getattr(options, each.name) for each in fields(options)}
    return {name: value for name, value in values.items() if value is not getattr(default, name)}


def handle_maker(
    definition: TaskDefinition, runner: Runner, connection: object
) -> Callable[[UUID | str], TaskHandle[Any, Any]]:
    """Return a function that makes handles of a task that was sent over ``connection``."""
    codec = definition.result
    read_args = definition.read_args
    is_committed = connection is UNSET

    def codec_for(_name: str) -> ResultCodec:
        return codec

    def make_handle(task_id: UUID | str) -> TaskHandle[Any, Any]:
        return TaskHandle(task_id, runner, codec_for, args_for=read_args, is_committed=is_committed)

    return make_handle
