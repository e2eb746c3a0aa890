"""Translation of records of horsies to the result objects of ``django.tasks``."""

from datetime import datetime
from typing import Any, cast

from django.conf import settings
from django.tasks import Task, TaskResult, TaskResultStatus
from django.tasks.base import TaskError
from django.utils import timezone
from django.utils.module_loading import import_string
from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from horsies.codes import TaskStatus
from horsies.contrib.django.exceptions import TaskAborted
from horsies.contrib.django.execution import Sent, worker_id
from horsies.producer.info import TaskInfo

_STATUSES = {
    TaskStatus.PENDING: TaskResultStatus.READY,
    TaskStatus.CLAIMED: TaskResultStatus.READY,
    TaskStatus.RUNNING: TaskResultStatus.RUNNING,
    TaskStatus.COMPLETED: TaskResultStatus.SUCCESSFUL,
}
"""The statuses that are not a failure."""


@dataclass(frozen=True, slots=True)
class _Arguments:
    """The arguments of the definition that runs a Django task."""

    args: list[Any]
    kwargs: dict[str, Any]
    sent: Sent


_ARGUMENTS = TypeAdapter(_Arguments)


def result_from(info: TaskInfo, alias: str) -> "TaskResult[..., Any] | None":
    """Return the result of a task; None if the task was not enqueued by the back end ``alias``."""
    try:
        stored = _ARGUMENTS.validate_python(info.args)
    except ValidationError:
        return None  # a task of the app itself
    if stored.sent.backend != alias:
        return None
    attempts = list(reversed(info.attempts or ()))
    workers = [worker_id(each.worker_hostname, each.worker_pid) for each in attempts]
    if info.status is TaskStatus.RUNNING:
        workers.append(worker_id(info.worker_hostname, info.worker_pid))
    last_started = info.started_at or (attempts[-1].started_at if attempts else None)
    status = _STATUSES.get(info.status, TaskResultStatus.FAILED)
    result: TaskResult[..., Any] = TaskResult(
        task=_task(info, stored.sent),
        id=info.task_id,
        status=status,
        enqueued_at=stored.sent.enqueued_at,
        started_at=_as_django(attempts[0].started_at if attempts else last_started),
        last_attempted_at=_as_django(last_started),
        finished_at=_as_django(info.ended_at),
        args=stored.args,
        kwargs=stored.kwargs,
        backend=alias,
        errors=[_error(info)] if status == TaskResultStatus.FAILED else [],
        worker_ids=workers,
    )
    if status == TaskResultStatus.SUCCESSFUL and info.result is not None:
        object.__setattr__(result, "_return_value", info.result.ok_value)
    return result


def _task(info: TaskInfo, sent: Sent) -> "Task[..., Any]":
    defined = import_string(info.task_name)
    if not isinstance(defined, Task):
        msg = f"Expected {info.task_name!r} to point to a Task instance."
        raise ValueError(msg)  # noqa: TRY004 - as Django does for the same mistake
    return cast("Task[..., Any]", defined).using(
        priority=sent.priority, queue_name=info.queue_name, run_after=sent.run_after, backend=sent.backend
    )


def _error(info: TaskInfo) -> TaskError:
    """Describe why a task failed: by the exception of its function, or else by the code and message of horsies."""
    error = info.result.err if info.result is not None else None
    exception = error.exception if error is not None else None
    if isinstance(exception, dict):
        kind = str(exception["type"])
        path = kind if "." in kind else f"builtins.{kind}"
        return TaskError(exception_class_path=path, traceback=str(exception["traceback"]))
    path = f"{TaskAborted.__module__}.{TaskAborted.__qualname__}"
    return TaskError(exception_class_path=path, traceback=f"{info.error_code}: {info.failed_reason or info.status}")


def _as_django(time: datetime | None) -> datetime | None:
    """Return a time as `django.utils.timezone.now` would: naive if ``USE_TZ`` is off."""
    return time if time is None or settings.USE_TZ else timezone.make_naive(time)
