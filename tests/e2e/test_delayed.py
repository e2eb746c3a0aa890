"""Tasks that are scheduled for later, and tasks that expire.

Workers poll only every five minutes here. Everything that happens sooner is caused by a timer or a notification.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from horsies import OutcomeCode, TaskHandle, TaskInfo, TaskStatus
from tests.support.environment import Environment
from tests.support.waiting import wait_until

NO_POLLING = {"TEST_POLL_MS": "300000"}
FAR_S = 3600


def ended(handle: TaskHandle[Any]) -> TaskInfo:
    handle.get(timeout_ms=20_000)
    info = handle.info().unwrap()
    assert info is not None
    assert info.status is TaskStatus.COMPLETED
    return info


def check_on_time(info: TaskInfo, delay: float) -> None:
    """Check that the task was due at the requested time and not started earlier, by the clock of the database."""
    assert info.enqueued_at == info.sent_at + timedelta(seconds=delay)
    assert info.started_at is not None
    assert info.started_at >= info.enqueued_at


@pytest.mark.parametrize("task", ["ok", "ok_async"])
def test_a_scheduled_task_starts_when_it_is_due_and_not_before(environment: Environment, task: str) -> None:
    environment.ready_worker(**NO_POLLING)
    check_on_time(ended(getattr(environment.tasks, task).schedule(1.5, "later").unwrap()), 1.5)
    assert environment.counts()["later"] == 1


def test_a_task_scheduled_by_asynchronous_code_is_due_in_time_too(environment: Environment) -> None:
    environment.ready_worker(**NO_POLLING)

    async def send() -> TaskHandle[str]:
        sent = (await environment.tasks.ok.with_options(priority=3).schedule_async(1, "later")).unwrap()
        await environment.tasks.app.close_async()
        return sent

    info = ended(asyncio.run(send()))
    check_on_time(info, 1)
    assert info.priority == 3


def test_a_worker_that_starts_later_still_knows_when_a_task_is_due(environment: Environment) -> None:
    handle = environment.tasks.ok.with_options(delay=2).send("later").unwrap()
    environment.ready_worker(**NO_POLLING)
    check_on_time(ended(handle), 2)


def test_a_task_delayed_far_does_not_hold_up_a_nearer_one(environment: Environment) -> None:
    environment.ready_worker(**NO_POLLING)
    environment.tasks.ok.schedule(FAR_S, "far").unwrap()
    near = environment.tasks.ok.schedule(2, "near").unwrap()
    nearer = environment.tasks.ok.schedule(1, "nearer").unwrap()
    now = environment.send("ok", "now")
    for handle, delay in ((now, 0), (nearer, 1), (near, 2)):
        check_on_time(ended(handle), delay)
    assert [entry.key for entry in environment.ledger()] == ["now", "nearer", "near"]
    assert environment.live_tasks("PENDING") == 1


def test_a_task_that_falls_due_while_all_children_are_busy_begins_after(environment: Environment) -> None:
    environment.ready_worker(**NO_POLLING)
    busy = environment.send("sleep", "busy", 2)
    due = environment.tasks.ok.schedule(0.5, "due").unwrap()
    check_on_time(ended(due), 0.5)
    assert ended(busy).completed_at is not None
    assert [entry.key for entry in environment.ledger()] == ["busy", "busy:end", "due"]


def test_a_retry_begins_when_it_is_due(environment: Environment) -> None:
    environment.ready_worker(**NO_POLLING)
    handle = environment.send("survivor", "again", str(environment.folder))
    assert handle.get(timeout_ms=20_000).ok_value == "second time"
    info = handle.info(include_attempts=True).unwrap()
    assert info is not None
    assert info.attempts is not None
    second, first = info.attempts
    assert second.started_at >= info.enqueued_at == first.finished_at + timedelta(seconds=1)


def check_expired(environment: Environment, handle: TaskHandle[Any]) -> None:
    error = handle.get(timeout_ms=20_000).err_value
    assert error.error_code is OutcomeCode.TASK_EXPIRED
    info = handle.info(include_result=True, include_attempts=True).unwrap()
    assert info is not None
    assert (info.status, info.error_code) == (TaskStatus.EXPIRED, OutcomeCode.TASK_EXPIRED)
    assert info.started_at is None
    assert info.failed_at is None
    assert info.expired_at is not None
    assert info.good_until is not None
    assert info.expired_at >= info.good_until
    assert not environment.counts()["too late"]


def test_a_task_that_is_not_started_by_its_good_until_expires(environment: Environment) -> None:
    worker = environment.ready_worker(**NO_POLLING, TEST_CHECK_MS="1000")
    busy = environment.send("sleep", "busy", 2.5)
    environment.wait_for_note("busy")
    soon = datetime.now(UTC) + timedelta(seconds=0.5)
    check_expired(environment, environment.tasks.ok.with_options(good_until=soon).send("too late").unwrap())
    assert busy.get(timeout_ms=20_000).is_ok()
    assert worker.stop() == 0


def test_a_task_whose_good_until_is_past_never_runs(environment: Environment) -> None:
    """Workers skip it even before maintenance has expired it."""
    environment.ready_worker(**NO_POLLING)
    assert environment.send("ok", "first").get(timeout_ms=20_000).is_ok()
    past = datetime.now(UTC) - timedelta(seconds=1)
    handle = environment.tasks.ok.with_options(good_until=past, priority=1).send("too late").unwrap()
    assert environment.send("ok", "second").get(timeout_ms=20_000).is_ok()
    environment.ready_worker(**NO_POLLING)  # performs maintenance first
    check_expired(environment, handle)


def test_a_task_whose_good_until_is_far_runs(environment: Environment) -> None:
    environment.ready_worker(**NO_POLLING)
    far = datetime.now(UTC) + timedelta(hours=1)
    info = ended(environment.tasks.ok.with_options(good_until=far).send("in time").unwrap())
    assert info.good_until == far


@pytest.mark.parametrize(("good_for_s", "status"), [(3500, TaskStatus.FAILED), (3700, TaskStatus.PENDING)])
def test_there_is_no_retry_at_or_after_good_until(
    environment: Environment, good_for_s: int, status: TaskStatus
) -> None:
    """The policy of `late_survivor` retries after an hour."""
    environment.ready_worker(**NO_POLLING)
    options = environment.tasks.late_survivor.with_options(good_until=datetime.now(UTC) + timedelta(seconds=good_for_s))
    handle = options.send("late", str(environment.folder)).unwrap()

    def settled() -> TaskInfo | None:
        info = handle.info().unwrap()
        return (
            info if info and info.status is not TaskStatus.RUNNING and info.retry_count + bool(info.failed_at) else None
        )

    wait_until(settled, describe="the verdict over the first attempt")
    info = handle.info(include_attempts=True).unwrap()
    assert info is not None
    assert info.status is status
    assert info.attempts is not None
    assert [attempt.will_retry for attempt in info.attempts] == [status is TaskStatus.PENDING]


def test_a_worker_is_notified_of_a_send_in_a_transaction_of_the_caller(environment: Environment) -> None:
    environment.ready_worker(**NO_POLLING)
    with psycopg.connect(environment.url) as connection:
        early = environment.tasks.ok.with_options(connection=connection).send("early").unwrap()
        with psycopg.connect(environment.url) as other:
            late = environment.tasks.ok.with_options(connection=other).schedule(0.5, "late").unwrap()
        check_on_time(ended(late), 0.5)
        assert environment.counts()["early"] == 0
    check_on_time(ended(early), 0)
    assert [entry.key for entry in environment.ledger()] == ["late", "early"]
