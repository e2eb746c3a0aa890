"""`cancel` on a handle: its results, and the notification of waiters."""

from uuid import UUID

from horsies import BrokerErrorCode, OutcomeCode, TaskStatus
from tests.producer.conftest import BeginWait, NewShop
from tests.producer.shop import RARELY, Do, Hand, Shop
from tests.support.factories import done, failed
from tests.support.sessions import NotificationListener, Session, column, open_session

NOBODY = "01a20a74-694d-77ef-bb11-70dc4b4506ab"


def test_only_the_call_that_ends_the_task_returns_true(do: Do, shop: Shop) -> None:
    handle = do(shop.add.send, 1).unwrap()
    assert do(handle.cancel).unwrap() is True
    assert do(handle.cancel).unwrap() is False
    assert do(shop.app.handle(handle.task_id).cancel).unwrap() is False


def test_its_outcome_is_an_error(do: Do, shop: Shop) -> None:
    handle = do(shop.order.send, "paper").unwrap()
    do(handle.cancel)
    assert do(handle.get).err_value.error_code is OutcomeCode.TASK_CANCELLED
    info = do(handle.info, include_failed_reason=True).unwrap()
    assert info is not None
    assert (info.status, info.error_code) == (TaskStatus.CANCELLED, OutcomeCode.TASK_CANCELLED)
    assert info.failed_reason
    assert (info.failed_at, info.ended_at) == (None, info.cancelled_at)
    assert info.cancelled_at
    assert info.started_at is None


def test_a_running_task_is_cancelled_and_its_outcome_comes_too_late(do: Do, shop: Shop, hand: Hand) -> None:
    handle = do(shop.add.send, 1).unwrap()
    fence = hand.claim(UUID(handle.task_id))
    assert do(handle.cancel).unwrap() is True
    assert hand.worker.finish(done(fence)) == ["stale"]
    assert do(handle.get).err_value.error_code is OutcomeCode.TASK_CANCELLED


def test_a_task_that_waits_for_its_retry(do: Do, shop: Shop, hand: Hand) -> None:
    handle = do(shop.retried.send, 1).unwrap()
    hand.end(UUID(handle.task_id), failed)
    assert do(handle.cancel).unwrap() is True
    info = do(handle.info, include_attempts=True).unwrap()
    assert info is not None
    assert info.attempts is not None
    assert [attempt.error_code for attempt in info.attempts] == ["BOOM"]


def test_an_ended_task_is_not_cancelled(do: Do, shop: Shop, hand: Hand) -> None:
    handle = do(shop.add.send, 1).unwrap()
    hand.end(UUID(handle.task_id))
    assert do(handle.cancel).unwrap() is False
    assert do(handle.get).ok_value == 1


def test_there_is_no_such_task(do: Do, shop: Shop) -> None:
    error = do(shop.add.handle(NOBODY).cancel).unwrap_err()
    assert (error.code, error.retryable) == (BrokerErrorCode.TASK_NOT_FOUND, False)
    assert NOBODY in error.message


def test_waiters_are_notified(begin_wait: BeginWait, new_shop: NewShop) -> None:
    shop = new_shop(resilience=RARELY)
    wait = begin_wait(shop)
    assert wait.handle.cancel().unwrap() is True
    assert wait.result.result(timeout=10).err_value.error_code is OutcomeCode.TASK_CANCELLED


def test_the_worker_that_runs_it_is_notified(do: Do, shop: Shop, hand: Hand, database_url: str) -> None:
    handle = do(shop.add.send, 1).unwrap()
    hand.claim(UUID(handle.task_id))
    with open_session(database_url) as listening:
        listener = NotificationListener(listening, "cancel")
        do(handle.cancel)
        assert listener.heard() == [UUID(handle.task_id).hex]


def test_a_failed_cancel_stops_no_task(do: Do, shop: Shop, db: Session, database_url: str) -> None:
    handle = do(shop.add.send, 1).unwrap()
    db.execute("alter table horsies.history add constraint nothing_is_cancelled check (status <> 'CANCELLED')")
    with open_session(database_url) as listening:
        listener = NotificationListener(listening, "cancel")
        error = do(handle.cancel).unwrap_err()
        assert listener.heard() == []
    assert (error.code, error.retryable) == (BrokerErrorCode.CLEANUP_FAILED, False)
    assert "nothing_is_cancelled" in error.message
    assert column(db, "select status from horsies.tasks") == ["PENDING"]
