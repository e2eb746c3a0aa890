"""The information about a task in each state, with and without the optional parts."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from horsies import (
    OperationalErrorCode,
    OutcomeCode,
    TaskAttemptInfo,
    TaskAttemptOutcome,
    TaskHandle,
    TaskInfo,
    TaskStatus,
)
from tests.producer.shop import Do, Hand, Shop, ShopError
from tests.support.factories import CHILD_NAME, CHILD_PID, HOSTNAME, PID, expire, failed, prefetch, reap
from tests.support.sessions import NOON, Session, freeze_clock, move_clock

NOBODY = "01a20a74-694d-77ef-bb11-70dc4b4506ab"
SECOND = timedelta(seconds=1)
ALL = {"include_result": True, "include_failed_reason": True, "include_attempts": True}


def pending(task_id: str) -> TaskInfo:
    """Return the expected information about a task that was sent at noon."""
    return TaskInfo(
        task_id=task_id,
        task_name="retried",
        status=TaskStatus.PENDING,
        queue_name="default",
        priority=100,
        retry_count=0,
        max_retries=2,
        next_retry_at=None,
        sent_at=NOON,
        enqueued_at=NOON,
        claimed_at=None,
        started_at=None,
        completed_at=None,
        failed_at=None,
        cancelled_at=None,
        expired_at=None,
        good_until=None,
        worker_hostname=None,
        worker_pid=None,
        worker_process_name=None,
        error_code=None,
        progress=None,
        rerun_of=None,
    )


def begun(task_id: str) -> TaskInfo:
    """Return the same for a task that was also claimed at noon."""
    worker = {"worker_hostname": HOSTNAME, "worker_pid": PID, "worker_process_name": "host-1/worker"}
    return replace(pending(task_id), status=TaskStatus.RUNNING, claimed_at=NOON, started_at=NOON, **worker)


def check(do: Do, handle: TaskHandle[Any], expected: TaskInfo, asked: TaskInfo) -> None:
    """Compare `info` with ``expected`` and, with all optional parts, with ``asked``."""
    assert do(handle.info).unwrap() == expected
    for flag, field in (
        ("include_result", "result"),
        ("include_failed_reason", "failed_reason"),
        ("include_attempts", "attempts"),
    ):
        found = do(handle.info, **{flag: True}).unwrap()
        assert found == replace(expected, **{field: getattr(asked, field)}), flag
    assert do(handle.info, **ALL).unwrap() == asked


def test_pending(do: Do, shop: Shop, db: Session) -> None:
    freeze_clock(db)
    handle = do(shop.retried.send, 1).unwrap()
    expected = pending(handle.task_id)
    check(do, handle, expected, replace(expected, attempts=[]))


def test_scheduled_with_options(do: Do, shop: Shop, db: Session) -> None:
    freeze_clock(db)
    sender = shop.retried.with_options(good_until=NOON + 90 * SECOND, priority=4)
    handle = do(sender.schedule, 60, 1).unwrap()
    expected = replace(
        pending(handle.task_id), enqueued_at=NOON + 60 * SECOND, good_until=NOON + 90 * SECOND, priority=4
    )
    assert do(handle.info).unwrap() == expected


def test_running(do: Do, shop: Shop, db: Session, hand: Hand) -> None:
    freeze_clock(db)
    handle = do(shop.retried.send, 1).unwrap()
    fence = hand.claim(UUID(handle.task_id))
    db.execute("update horsies.tasks set progress = '{\"done\": 3}'")
    expected = replace(begun(handle.task_id), progress={"done": 3})
    check(do, handle, expected, replace(expected, attempts=[]))
    prefetch(db, fence)
    claimed = do(handle.info).unwrap()
    assert claimed is not None
    assert (claimed.status, claimed.started_at, claimed.retry_count) == (TaskStatus.CLAIMED, None, 0)


def test_progress_that_python_cannot_read_is_shown_as_text(do: Do, shop: Shop, db: Session, hand: Hand) -> None:
    handle = do(shop.retried.send, 1).unwrap()
    hand.claim(UUID(handle.task_id))
    digits = "7" * 5000
    db.execute("update horsies.tasks set progress = %s::json", (digits,))
    shown = do(handle.info).unwrap()
    assert shown is not None
    assert shown.progress == digits


def attempt(task_id: str, number: int, **changes: Any) -> TaskAttemptInfo:
    """Return a failed attempt of one second that started at noon."""
    first = TaskAttemptInfo(
        task_id=task_id,
        attempt=number,
        outcome=TaskAttemptOutcome.FAILED,
        will_retry=True,
        started_at=NOON,
        finished_at=NOON + SECOND,
        error_code="BOOM",
        error_message="it failed",
        failed_reason="it failed",
        worker_hostname=HOSTNAME,
        worker_pid=CHILD_PID,
        worker_process_name=CHILD_NAME,
    )
    return replace(first, **changes)


def test_waiting_for_a_retry(do: Do, shop: Shop, db: Session, hand: Hand) -> None:
    freeze_clock(db)
    handle = do(shop.retried.send, 1).unwrap()
    fence = hand.claim(UUID(handle.task_id))
    move_clock(db, 1)
    hand.worker.finish(failed(fence))
    again = NOON + 6 * SECOND
    expected = replace(pending(handle.task_id), retry_count=1, next_retry_at=again, enqueued_at=again)
    check(do, handle, expected, replace(expected, attempts=[attempt(handle.task_id, 1)]))


def test_completed_in_the_second_attempt(do: Do, shop: Shop, db: Session, hand: Hand) -> None:
    freeze_clock(db)
    handle = do(shop.retried.send, 1).unwrap()
    fence = hand.claim(UUID(handle.task_id))
    move_clock(db, 1)
    hand.worker.finish(failed(fence))
    move_clock(db, 5)
    hand.end(UUID(handle.task_id))
    moment = NOON + 6 * SECOND
    last = attempt(
        handle.task_id, 2, outcome=TaskAttemptOutcome.COMPLETED, will_retry=False, started_at=moment,
        finished_at=moment, error_code=None, error_message=None, failed_reason=None,
    )  # fmt: skip
    expected = replace(
        begun(handle.task_id),
        status=TaskStatus.COMPLETED,
        retry_count=1,
        enqueued_at=moment,
        claimed_at=moment,
        started_at=moment,
        completed_at=moment,
        worker_pid=CHILD_PID,
        worker_process_name=CHILD_NAME,
    )
    asked = replace(expected, result=do(handle.get), attempts=[last, attempt(handle.task_id, 1)])
    check(do, handle, expected, asked)


def test_failed(do: Do, shop: Shop, db: Session, hand: Hand) -> None:
    freeze_clock(db)
    handle = do(shop.order.send, "paper").unwrap()
    hand.end(UUID(handle.task_id), lambda fence: failed(fence, "CLOSED"))
    last = attempt(handle.task_id, 1, will_retry=False, finished_at=NOON, error_code="CLOSED")
    expected = replace(
        begun(handle.task_id),
        task_name="order",
        max_retries=0,
        status=TaskStatus.FAILED,
        failed_at=NOON,
        error_code="CLOSED",
        worker_pid=CHILD_PID,
        worker_process_name=CHILD_NAME,
    )
    result = do(handle.get)
    assert isinstance(result.err_value, ShopError)
    check(do, handle, expected, replace(expected, result=result, failed_reason="it failed", attempts=[last]))


def test_crashed(do: Do, shop: Shop, db: Session, hand: Hand) -> None:
    handle = do(shop.add.send, 1).unwrap()
    hand.claim(UUID(handle.task_id))
    reap(db, hand.worker.id)
    found = do(handle.info, **ALL).unwrap()
    assert found is not None
    assert (found.status, found.error_code) == (TaskStatus.FAILED, OperationalErrorCode.WORKER_CRASHED)
    assert found.attempts is not None
    [last] = found.attempts
    assert (last.outcome, last.error_code) == (TaskAttemptOutcome.WORKER_FAILURE, OperationalErrorCode.WORKER_CRASHED)
    assert last.failed_reason == found.failed_reason


def test_expired(do: Do, shop: Shop, db: Session) -> None:
    freeze_clock(db)
    handle = do(shop.retried.with_options(good_until=NOON + SECOND).send, 1).unwrap()
    move_clock(db, 2)
    expire(db)
    found = do(handle.info, **ALL).unwrap()
    assert found is not None
    assert (found.status, found.error_code) == (TaskStatus.EXPIRED, OutcomeCode.TASK_EXPIRED)
    assert (found.attempts, found.retry_count, found.started_at) == ([], 0, None)
    assert (found.expired_at, found.failed_at, found.ended_at) == (NOON + 2 * SECOND, None, NOON + 2 * SECOND)
    assert found.failed_reason
    assert found.result == do(handle.get)


def test_no_such_task(do: Do, shop: Shop) -> None:
    for handle in (shop.add.handle(NOBODY), shop.app.handle(NOBODY)):
        assert do(handle.info).unwrap() is None
        assert do(handle.info, **ALL).unwrap() is None


def test_of_a_task_this_app_does_not_have(do: Do, shop: Shop, db: Session, hand: Hand) -> None:
    sent = do(shop.plain.send, 1).unwrap()
    hand.end(UUID(sent.task_id))
    db.execute("update horsies.history set task_name = 'stranger'")
    found = do(shop.app.handle(sent.task_id).info, **ALL).unwrap()
    assert found is not None
    assert (found.task_name, found.result and found.result.ok) == ("stranger", 1)


def test_an_invalid_stored_result_does_not_raise(do: Do, shop: Shop, db: Session, hand: Hand) -> None:
    for stored in ('"\\ud800"', "[" * 1_000 + "]" * 1_000, "5", '{"message": 5}', "null"):
        handle = do(shop.add.send, 1).unwrap()
        hand.end(UUID(handle.task_id), failed)
        db.execute("update horsies.history set result = %s where id = %s", (stored, handle.task_id))
        found = do(handle.info, **ALL).unwrap()
        assert found is not None
        assert found.result is not None
        assert found.result.is_err()


def test_it_can_be_shown(do: Do, shop: Shop) -> None:
    handle = do(shop.add.send, 1).unwrap()
    assert repr(handle) == f"TaskHandle({handle.task_id!r})"
    assert handle.task_id in repr(do(handle.info).unwrap())
