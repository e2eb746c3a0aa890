"""`HorsiesBackend`: a back end for ``django.tasks``, the task interface of Django 6."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from math import ceil
from typing import Any, cast

from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, OperationalError, connections, transaction
from django.tasks import Task, TaskResult, TaskResultStatus, task_backends
from django.tasks.backends.base import BaseTaskBackend
from django.tasks.exceptions import InvalidTask, InvalidTaskBackend, TaskResultDoesNotExist
from django.tasks.signals import task_enqueued
from django.utils import timezone
from django.utils.asyncio import async_unsafe
from django.utils.module_loading import import_string

from horsies.app import Horsies
from horsies.codec.problems import CodecError
from horsies.codec.secrets import REDACTED
from horsies.codes import TaskSendErrorCode
from horsies.contrib.django.execution import Sent, as_json, definition_of
from horsies.contrib.django.results import result_from
from horsies.db.operations import UNSET
from horsies.errors import HorsiesError
from horsies.producer.options import LONGEST_DELAY_S
from horsies.producer.send import TaskSendError
from horsies.result import Err
from horsies.task import TaskFunction

_OPTIONS = {"app", "database"}


def horsies_priority(priority: int) -> int:
    """Map a priority of Django, from -100 to 100 (highest), to one of horsies, from 100 to 1 (highest).

    Django's default 0 becomes 50. The order is kept, but two neighbours may become equal.
    """
    return 50 - ceil(priority * 49 / 100) if priority > 0 else 50 + ceil(-priority / 2)


class HorsiesBackend(BaseTaskBackend):
    """Runs the tasks of Django's ``@task`` in workers of horsies.

    ``TASKS = {"default": {"BACKEND": "horsies.contrib.django.backend.HorsiesBackend", "OPTIONS": {…}}}`` has two
    options. ``app`` (required) is the dotted path of the `Horsies` object, such as ``config.queue.queue``. ``database``
    is the key in ``DATABASES`` of the app's database, by default ``default``: a task that is enqueued in a transaction
    of this database becomes part of the transaction. With None, tasks never join a transaction. ``QUEUES`` defaults to
    the queues of the app.
    """

    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def __init__(self, alias: str, params: Mapping[str, Any]) -> None:
        super().__init__(alias, dict(params))
        options = self.options
        unknown = sorted(options.keys() - _OPTIONS)
        if unknown:
            msg = f"TASKS[{alias!r}]['OPTIONS'] has the unknown option {unknown[0]!r}: the options are app and database"
            raise InvalidTaskBackend(msg)
        self.app = _find_app(alias, options.get("app"))
        self.database = cast("str | None", options.get("database", DEFAULT_DB_ALIAS))
        self._check_database()
        known = self.app.config.queue_names()
        self.queues = set(params.get("QUEUES") or known)
        missing = sorted(self.queues.difference(known))
        if missing:
            msg = f"TASKS[{alias!r}]['QUEUES'] has {missing[0]!r}, but the queues of the app are {', '.join(known)}"
            raise InvalidTaskBackend(msg)

    def _check_database(self) -> None:
        if self.database is None:
            return
        if self.database not in connections.settings:
            msg = f"TASKS[{self.alias!r}]['OPTIONS']['database'] is {self.database!r}, which is not in DATABASES"
            raise InvalidTaskBackend(msg)
        if connections[self.database].vendor != "postgresql":
            msg = (
                f"DATABASES[{self.database!r}] is not PostgreSQL: set TASKS[{self.alias!r}]['OPTIONS']['database'] to "
                "the database of the horsies app, or to None if Django does not use that database"
            )
            raise InvalidTaskBackend(msg)

    def validate_task(self, task: "Task[..., Any]") -> None:
        """Check a task, and register it in the app, so that a worker that imports its module can run it.

        Raises:
            InvalidTask: The back end cannot run the task.
        """
        super().validate_task(task)
        if _delay(task.run_after) > LONGEST_DELAY_S:
            msg = f"run_after is more than {LONGEST_DELAY_S:,} seconds from now, the longest delay of horsies."
            raise InvalidTask(msg)
        definition, registry = definition_of(task), self.app.registry
        if task.module_path not in registry or registry.get(task.module_path) is not definition:
            try:
                registry.add(definition)
            except HorsiesError as error:
                raise InvalidTask(str(error)) from error

    @async_unsafe("You cannot call enqueue() from an async context: await aenqueue() instead.")
    def enqueue[**P, R](self, task: "Task[P, R]", args: Any, kwargs: Any) -> "TaskResult[P, R]":
        """Send a task, in the open transaction of Django's connection if there is one.

        Raises:
            InvalidTask: The task cannot run in a worker.
            TypeError: An argument is no JSON data.
            ValueError: The arguments cannot be stored, for example because they contain NaN or are too large.
            OperationalError: The database did not accept the task.
            ImproperlyConfigured: The connection of the transaction leads to another database than that of the app.
        """
        self.validate_task(task)
        self._check_definition(task)
        sent = Sent(self.alias, task.priority, task.run_after, timezone.now())
        result = TaskResult(
            task=task,
            id="",
            status=TaskResultStatus.READY,
            enqueued_at=sent.enqueued_at,
            started_at=None,
            last_attempted_at=None,
            finished_at=None,
            args=as_json(args),
            kwargs=as_json(kwargs),
            backend=self.alias,
            errors=[],
            worker_ids=[],
        )
        definition = replace(definition_of(task), queue_name=task.queue_name)
        sender = TaskFunction[..., Any](definition, self.app.producer).with_options(
            delay=_delay(task.run_after), priority=horsies_priority(task.priority), connection=self._connection()
        )
        answer = sender.send(result.args, result.kwargs, sent)
        if isinstance(answer, Err):
            raise self._exception_for(answer.error)
        object.__setattr__(result, "id", answer.value.task_id)
        task_enqueued.send(type(self), task_result=result)
        return result

    @async_unsafe("You cannot call get_result() from an async context: await aget_result() instead.")
    def get_result(self, result_id: str) -> "TaskResult[..., Any]":
        """Read the result of a task that this back end has enqueued.

        Raises:
            TaskResultDoesNotExist: There is no such task, its transaction is not committed, or its record was pruned.
            OperationalError: The database did not answer.
        """
        handle = self.app.handle(result_id)
        answer = handle.info(include_result=True, include_failed_reason=True, include_attempts=True, include_args=True)
        if isinstance(answer, Err):
            raise OperationalError(answer.error.message) from answer.error.exception
        result = None if answer.value is None else result_from(answer.value, self.alias)
        if result is None:
            raise TaskResultDoesNotExist(result_id)
        if result.status == TaskResultStatus.SUCCESSFUL and REDACTED in json.dumps(result.return_value):
            complete = handle.get(timeout_ms=0)
            if complete.is_ok():
                object.__setattr__(result, "_return_value", complete.ok)
        return result

    def _check_definition(self, task: "Task[..., Any]") -> None:
        """Check that a worker finds the task when it imports the module.

        Raises:
            InvalidTask: The task was defined for another back end, or its name does not lead to a task.
        """
        try:
            defined = import_string(task.module_path)
        except ImportError as error:
            msg = f"{task.module_path} cannot be imported, so no worker can run it."
            raise InvalidTask(msg) from error
        backend = task_backends[defined.backend] if isinstance(defined, Task) else None
        if not isinstance(backend, HorsiesBackend) or backend.app is not self.app:
            msg = (
                f"{task.module_path} is not defined for a back end of the same horsies app, so a worker would not know "
                f"it: define it with @task(backend={self.alias!r})."
            )
            raise InvalidTask(msg)

    def _connection(self) -> object:
        """Return Django's connection if a transaction is open on it, else `UNSET`."""
        if self.database is None:
            return UNSET
        connection = connections[self.database]
        is_connected = connection.connection is not None
        autocommit = connection.autocommit if is_connected else connection.settings_dict["AUTOCOMMIT"]
        return connection if connection.in_atomic_block or not autocommit else UNSET

    def _exception_for(self, error: TaskSendError) -> Exception:
        if error.code is TaskSendErrorCode.ENQUEUE_FAILED:
            if self.database is not None and connections[self.database].in_atomic_block:
                transaction.set_rollback(True, using=self.database)
            exception: Exception = OperationalError(error.message)
        elif isinstance(error.exception, CodecError) or error.code is TaskSendErrorCode.PAYLOAD_TOO_LARGE:
            exception = ValueError(error.message)
        elif error.code is TaskSendErrorCode.VALIDATION_FAILED:
            exception = ImproperlyConfigured(error.message)
        else:
            exception = InvalidTask(error.message)
        exception.__cause__ = error.exception
        return exception


def find_backend(alias: str) -> HorsiesBackend:
    """Return a back end by its key in ``TASKS``.

    Raises:
        InvalidTaskBackend: There is no such back end, or it is not one of horsies.
    """
    backend = task_backends[alias]
    if not isinstance(backend, HorsiesBackend):
        msg = f"TASKS[{alias!r}] is not a back end of horsies: its BACKEND is {type(backend).__module__}"
        raise InvalidTaskBackend(msg)
    return backend


def _find_app(alias: str, path: object) -> Horsies:
    setting = f"TASKS[{alias!r}]['OPTIONS']['app']"
    if not isinstance(path, str):
        msg = f"{setting} is missing: set it to the dotted path of the Horsies object, such as 'config.queue.queue'"
        raise InvalidTaskBackend(msg)
    try:
        app = import_string(path)
    except ImportError as error:
        msg = f"{setting} is {path!r}, which cannot be imported: {error}"
        raise InvalidTaskBackend(msg) from error
    if not isinstance(app, Horsies):
        msg = f"{setting} is {path!r}, which is a {type(app).__name__} instead of a Horsies object"
        raise InvalidTaskBackend(msg)
    return app


def _delay(run_after: datetime | None) -> float:
    """Return how many seconds from now a time is, at least 0. A naive time is in Django's current time zone."""
    if run_after is None:
        return 0.0
    aware = run_after if timezone.is_aware(run_after) else timezone.make_aware(run_after)
    return max((aware - datetime.now(aware.tzinfo)) / timedelta(seconds=1), 0.0)
