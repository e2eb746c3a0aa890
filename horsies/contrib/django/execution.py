"""How a worker runs a task of ``django.tasks``: the definition that represents it in the app."""

import json
import os
import socket
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from inspect import iscoroutinefunction
from typing import Annotated, Any, cast

from asgiref.sync import sync_to_async
from django.db import close_old_connections
from django.tasks import Task, TaskContext, TaskResultStatus
from django.tasks.base import TaskError as DjangoTaskError
from django.tasks.base import TaskResult as DjangoTaskResult
from django.tasks.signals import task_finished, task_started
from django.utils import timezone
from django.utils.json import normalize_json

from horsies.codec.secrets import SecretMark
from horsies.codec.signature import SignatureCodec, function_location
from horsies.codec.wire import ResultCodec
from horsies.contrib.django.secrets import returns_secret, secret_arguments
from horsies.postponement import AttemptPostponed
from horsies.task_result import TaskError, TaskResult, UndeclaredTaskError
from horsies.tasks.current import CurrentTask, current_task
from horsies.tasks.registry import TaskDefinition


@dataclass(frozen=True, slots=True)
class Sent:
    """The values of a Django task that horsies has no column for. They are stored with the arguments.

    Attributes:
        backend: The key of the back end in ``TASKS``.
        priority: Django's priority, of which several map to one priority of horsies.
        run_after: The earliest time at which the task may run; None: at once.
        enqueued_at: When the task was enqueued, by the clock of the sender.
    """

    backend: str
    priority: int
    run_after: datetime | None
    enqueued_at: datetime


def definition_of(task: "Task[..., Any]") -> TaskDefinition:
    """Return the definition that runs a Django task. Copies made by ``using`` share it."""
    return _definition(task.func, task.module_path, task.takes_context)


@cache
def _definition(func: Callable[..., Any], name: str, takes_context: bool) -> TaskDefinition:  # noqa: FBT001 - a key
    run = (_async_runner if iscoroutinefunction(func) else _runner)(func, takes_context=takes_context)
    run.__name__, run.__qualname__ = func.__name__, func.__qualname__
    returned: Any = Annotated[Any, SecretMark()] if returns_secret(func) else Any
    return TaskDefinition(
        name=name,
        fn=run,
        is_async=iscoroutinefunction(func),
        signature=SignatureCodec(run, redact=secret_arguments(func, takes_context=takes_context)),
        result=ResultCodec(returned, UndeclaredTaskError),
        location=function_location(func),
    )


def _runner(func: Callable[..., Any], *, takes_context: bool) -> Callable[..., Any]:
    def run(args: list[Any], kwargs: dict[str, Any], sent: Sent) -> TaskResult[Any, TaskError]:
        close_old_connections()
        attempt = _Attempt(func, args, kwargs, sent, takes_context=takes_context)
        task_started.send_robust(attempt.sender, task_result=attempt.result)
        try:
            value = attempt.succeed(func(*attempt.args, **attempt.result.kwargs))
        except AttemptPostponed:  # the task runs again, so it has neither succeeded nor failed
            raise
        except BaseException as exception:
            attempt.fail(exception)
            task_finished.send_robust(attempt.sender, task_result=attempt.result)
            raise
        else:
            task_finished.send_robust(attempt.sender, task_result=attempt.result)
        finally:
            close_old_connections()
        return TaskResult(ok=value)

    return run


def _async_runner(func: Callable[..., Any], *, takes_context: bool) -> Callable[..., Any]:
    async def run(args: list[Any], kwargs: dict[str, Any], sent: Sent) -> TaskResult[Any, TaskError]:
        attempt = _Attempt(func, args, kwargs, sent, takes_context=takes_context)
        await task_started.asend_robust(attempt.sender, task_result=attempt.result)
        try:
            value = attempt.succeed(await func(*attempt.args, **attempt.result.kwargs))
        except AttemptPostponed:  # the task runs again, so it has neither succeeded nor failed
            raise
        except BaseException as exception:
            attempt.fail(exception)
            await task_finished.asend_robust(attempt.sender, task_result=attempt.result)
            raise
        else:
            await task_finished.asend_robust(attempt.sender, task_result=attempt.result)
        finally:
            await sync_to_async(close_old_connections)()
        return TaskResult(ok=value)

    return run


class _Attempt:
    """One attempt at a Django task in a worker, as its context and the signals of ``django.tasks`` show it.

    Attributes:
        result: The result object, which changes with the attempt.
        args: The positional arguments of the function, with the context first if it takes one.
        sender: The class of the back end, which is the sender of the signals.
    """

    def __init__(
        self, func: Callable[..., Any], args: list[Any], kwargs: dict[str, Any], sent: Sent, *, takes_context: bool
    ) -> None:
        current = cast("CurrentTask", current_task())
        task: Task[..., Any] = Task(
            func=func,
            priority=sent.priority,
            backend=sent.backend,
            queue_name=current.queue,
            run_after=sent.run_after,
            takes_context=takes_context,
        )
        now = timezone.now()
        self.result: DjangoTaskResult[..., Any] = DjangoTaskResult(
            task=task,
            id=current.id,
            status=TaskResultStatus.RUNNING,
            enqueued_at=sent.enqueued_at,
            started_at=now,
            last_attempted_at=now,
            finished_at=None,
            args=args,
            kwargs=kwargs,
            backend=sent.backend,
            errors=[],
            worker_ids=[worker_id(socket.gethostname(), os.getpid())] * current.attempt,
        )
        self.args = [TaskContext(task_result=self.result), *args] if takes_context else args
        self.sender = type(task.get_backend())

    def succeed(self, returned: object) -> Any:
        """Record the return value, and return it as JSON data.

        Raises:
            TypeError, ValueError: The value is no JSON data.
        """
        value = as_json(returned)
        self._finish(TaskResultStatus.SUCCESSFUL)
        object.__setattr__(self.result, "_return_value", value)
        return value

    def fail(self, exception: BaseException) -> None:
        """Record the exception that ended the attempt."""
        self._finish(TaskResultStatus.FAILED)
        kind = type(exception)
        path = f"{kind.__module__}.{kind.__qualname__}"
        text = "".join(traceback.format_exception(exception))
        self.result.errors.append(DjangoTaskError(exception_class_path=path, traceback=text))

    def _finish(self, status: TaskResultStatus) -> None:
        object.__setattr__(self.result, "status", status)
        object.__setattr__(self.result, "finished_at", timezone.now())


def as_json(value: object) -> Any:
    """Return a value as it is read back from JSON: members of `django.db.models.TextChoices` become plain strings.

    Raises:
        TypeError: The value contains an object that is no JSON data.
        ValueError: It contains NaN or an infinite number.
    """
    return json.loads(json.dumps(normalize_json(value), allow_nan=False))


def worker_id(hostname: str | None, pid: int | None) -> str:
    """Return the entry of a process in ``TaskResult.worker_ids``."""
    return f"{hostname}:{pid}"
