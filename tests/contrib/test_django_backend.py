"""The back end keeps the semantics of django.tasks: definitions, enqueueing, results, transactions and signals."""

import asyncio
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.exceptions import ImproperlyConfigured, SynchronousOnlyOperation
from django.db import OperationalError, connections, transaction
from django.db.transaction import TransactionManagementError
from django.tasks import TaskResult, TaskResultStatus, default_task_backend, task, task_backends
from django.tasks.exceptions import InvalidTask, InvalidTaskBackend, TaskResultDoesNotExist, TaskResultMismatch
from django.tasks.signals import task_enqueued
from django.test import override_settings

from horsies import Horsies, TaskStatus
from horsies.contrib.django.backend import HorsiesBackend, horsies_priority
from horsies.contrib.django.exceptions import TaskAborted
from tests.contrib.back_ends import TASKS
from tests.contrib.queue import make_queue


@pytest.fixture
def tasks(django_queue: Horsies) -> Any:
    """The module of the tasks, imported after Django was set up."""
    from tests.contrib import tasks  # noqa: PLC0415

    return tasks


@pytest.fixture
def enqueued() -> "Iterator[list[TaskResult[..., Any]]]":
    """The results of which the signal task_enqueued was sent."""
    results: list[TaskResult[..., Any]] = []

    def on_enqueued(sender: type, task_result: "TaskResult[..., Any]", **_: Any) -> None:
        assert sender is HorsiesBackend
        results.append(task_result)

    task_enqueued.connect(on_enqueued)
    yield results
    task_enqueued.disconnect(on_enqueued)


def test_the_back_end_supports_everything(django_queue: Horsies) -> None:
    backend = task_backends["default"]
    assert isinstance(backend, HorsiesBackend)
    assert backend.supports_defer
    assert backend.supports_async_task
    assert backend.supports_get_result
    assert backend.supports_priority
    assert backend.queues == {"default", "mail"}
    assert backend.check() == []


def test_a_task_is_enqueued(tasks: Any, django_queue: Horsies, enqueued: list[Any]) -> None:
    before = datetime.now(UTC)
    result = tasks.add.enqueue(1, second=2)
    assert result.status == TaskResultStatus.READY
    assert not result.is_finished
    assert (result.task, result.args, result.kwargs, result.backend) == (tasks.add, [1], {"second": 2}, "default")
    assert before <= result.enqueued_at <= datetime.now(UTC)
    assert (result.started_at, result.last_attempted_at, result.finished_at) == (None, None, None)
    assert (result.errors, result.worker_ids, result.attempts) == ([], [], 0)
    with pytest.raises(ValueError, match="Task has not finished yet"):
        _ = result.return_value
    assert enqueued == [result]
    assert default_task_backend.get_result(result.id) == tasks.add.get_result(result.id) == result
    info = django_queue.handle(result.id).info().unwrap()
    assert info is not None
    assert (info.task_name, info.status) == ("tests.contrib.tasks.add", TaskStatus.PENDING)


def test_a_task_is_enqueued_and_read_by_asyncio(tasks: Any) -> None:
    async def use() -> None:
        result = await tasks.add_async.aenqueue(1, 2)
        assert await tasks.add_async.aget_result(result.id) == result
        await result.arefresh()
        assert result.status == TaskResultStatus.READY
        with pytest.raises(SynchronousOnlyOperation, match="await aenqueue"):
            tasks.add_async.enqueue(1, 2)
        with pytest.raises(SynchronousOnlyOperation, match="await aget_result"):
            tasks.add_async.get_result(result.id)
        await sync_to_async(connections.close_all)()

    asyncio.run(use())


def test_using_changes_queue_priority_time_and_back_end(tasks: Any, django_queue: Horsies) -> None:
    at = datetime.now(UTC) + timedelta(hours=1)
    changed = tasks.add.using(queue_name="mail", priority=-100, run_after=at, backend="second")
    result = changed.enqueue(1)
    assert (result.task.priority, result.task.queue_name, result.task.run_after) == (-100, "mail", at)
    assert task_backends["second"].get_result(result.id) == changed.get_result(result.id) == result
    info = django_queue.handle(result.id).info().unwrap()
    assert info is not None
    assert (info.queue_name, info.priority) == ("mail", 100)
    assert abs(info.enqueued_at - at) < timedelta(minutes=1)
    with pytest.raises(TaskResultDoesNotExist):
        task_backends["default"].get_result(result.id)


def test_a_time_in_the_past_means_at_once(tasks: Any, django_queue: Horsies) -> None:
    result = tasks.add.using(run_after=datetime(2020, 1, 1, tzinfo=UTC)).enqueue(1)
    info = django_queue.handle(result.id).info().unwrap()
    assert info is not None
    assert info.enqueued_at == info.sent_at


def test_priorities_keep_their_order() -> None:
    mapped = [horsies_priority(each) for each in range(-100, 101)]
    assert mapped == sorted(mapped, reverse=True)
    assert (mapped[0], mapped[99], mapped[100], mapped[101], mapped[200]) == (100, 51, 50, 49, 1)


def test_what_the_back_end_cannot_do_is_an_invalid_task(tasks: Any) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"priority": 101}, "priority must be a whole number between -100 and 100"),
        ({"priority": -101}, "priority must be a whole number between -100 and 100"),
        ({"priority": 1.5}, "priority must be a whole number between -100 and 100"),
        ({"queue_name": "unknown"}, "Queue 'unknown' is not valid for backend"),
        ({"backend": "mail"}, "Queue 'default' is not valid for backend"),
        ({"run_after": datetime(2030, 1, 1)}, "run_after must be an aware datetime"),  # noqa: DTZ001
        ({"run_after": datetime(2200, 1, 1, tzinfo=UTC)}, "the longest delay of horsies"),
    ]
    for options, reason in cases:
        with pytest.raises(InvalidTask, match=reason):
            tasks.add.using(**options)


def test_a_function_that_no_worker_can_import_is_an_invalid_task(tasks: Any) -> None:
    with pytest.raises(InvalidTask, match="must be defined at a module level"):
        task(lambda: None)
    renamed = task(_renamed)
    with pytest.raises(InvalidTask, match="cannot be imported|does not lead|is not defined for a back end"):
        renamed.enqueue()
    with pytest.raises(InvalidTask, match=r"define it with @task\(backend='default'\)"):
        tasks.elsewhere.using(backend="default").enqueue()
    with pytest.raises(InvalidTask, match="does not have a first argument of 'context'"):
        task(takes_context=True)(_renamed)


def _renamed() -> None:
    """Become a task under another name than its own."""


def test_arguments_must_be_json(tasks: Any, django_queue: Horsies, enqueued: list[Any]) -> None:
    with pytest.raises(TypeError, match="Unsupported type"):
        tasks.echo.enqueue({1})
    with pytest.raises(ValueError, match="JSON compliant"):
        tasks.echo.enqueue(float("nan"))
    assert enqueued == []
    result = tasks.echo.enqueue((1, None), text="ä\0", nested={"a": [True]}, status=TaskResultStatus.READY)
    assert result.args == [[1, None]]
    assert type(result.kwargs["status"]) is str
    assert tasks.echo.get_result(result.id) == result


def test_unknown_and_foreign_results_do_not_exist(tasks: Any, django_queue: Horsies) -> None:
    for unknown in ("123", "00000000-0000-7000-8000-000000000000"):
        with pytest.raises(TaskResultDoesNotExist):
            tasks.add.get_result(unknown)
    result = tasks.add.enqueue(1)
    with pytest.raises(TaskResultMismatch):
        tasks.echo.get_result(result.id)


def test_a_cancelled_task_has_failed(tasks: Any, django_queue: Horsies) -> None:
    result = tasks.add.enqueue(1)
    assert django_queue.handle(result.id).cancel().unwrap() is True
    result.refresh()
    assert (result.status, result.is_finished, result.attempts) == (TaskResultStatus.FAILED, True, 0)
    [error] = result.errors
    assert error.exception_class is TaskAborted
    assert "TASK_CANCELLED" in error.traceback
    with pytest.raises(ValueError, match="Task failed"):
        _ = result.return_value


def test_a_task_is_part_of_the_open_transaction(tasks: Any) -> None:
    with transaction.atomic():
        kept = tasks.add.enqueue(1)
        with pytest.raises(TaskResultDoesNotExist):
            kept.refresh()
    kept.refresh()
    with transaction.atomic():
        dropped = tasks.add.enqueue(1)
        detached = tasks.add.using(backend="detached").enqueue(1)
        transaction.set_rollback(True)
    detached.refresh()
    with pytest.raises(TaskResultDoesNotExist):
        dropped.refresh()


def test_a_task_is_part_of_the_transaction_of_a_connection_without_autocommit(tasks: Any) -> None:
    transaction.set_autocommit(False)
    try:
        dropped = tasks.add.enqueue(1)
        transaction.rollback()
        kept = tasks.add.enqueue(1)
        transaction.commit()
    finally:
        transaction.set_autocommit(True)
    kept.refresh()
    with pytest.raises(TaskResultDoesNotExist):
        dropped.refresh()


def test_a_failed_send_fails_the_transaction(tasks: Any, django_queue: Horsies) -> None:
    with transaction.atomic():
        connections["default"].cursor().execute("set transaction read only")
        with pytest.raises(OperationalError, match="read-only"):
            tasks.add.enqueue(1)
        with pytest.raises(TransactionManagementError):
            connections["default"].cursor().execute("select 1")


def test_a_database_that_cannot_be_reached_is_an_operational_error(tasks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = make_queue("postgresql://nobody@127.0.0.1:1/nothing")
    monkeypatch.setattr("tests.contrib.queue.queue", queue)
    with override_settings(TASKS=TASKS):
        with pytest.raises(OperationalError):
            tasks.add.enqueue(1)
        with pytest.raises(OperationalError):
            tasks.add.get_result("00000000-0000-7000-8000-000000000000")
    queue.close()


def test_the_app_must_use_the_database_of_the_transaction(
    tasks: Any, empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = make_queue(empty_database_url)
    monkeypatch.setattr("tests.contrib.queue.queue", queue)
    with (
        override_settings(TASKS=TASKS),
        transaction.atomic(),
        pytest.raises(ImproperlyConfigured, match="but the app uses"),
    ):
        tasks.add.enqueue(1)
    queue.close()


def test_wrong_settings_are_an_invalid_back_end(django_queue: Horsies) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"OPTIONS": {}}, "'app'] is missing"),
        ({"OPTIONS": {"app": "tests.contrib.nothing.queue"}}, "cannot be imported"),
        ({"OPTIONS": {"app": "tests.contrib.queue.os"}}, "is a module instead of a Horsies object"),
        ({"OPTIONS": {"app": "tests.contrib.queue.queue", "speed": 9}}, "unknown option 'speed'"),
        ({"OPTIONS": {"app": "tests.contrib.queue.queue", "database": "other"}}, "not in DATABASES"),
        ({"QUEUES": ["default", "images"]}, "has 'images', but the queues of the app are default, mail"),
    ]
    for changes, reason in cases:
        with (
            override_settings(TASKS={"default": TASKS["default"] | changes}),
            pytest.raises(InvalidTaskBackend, match=re.escape(reason)),
        ):
            _ = task_backends["default"]
