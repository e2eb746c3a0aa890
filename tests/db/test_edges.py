"""Each arrow of the diagram in docs/task-life-cycle.md, by its name."""

from datetime import timedelta
from uuid import UUID

from horsies.config.retry import RetryPolicy
from horsies.db.queries import tasks as task_queries
from tests.support.factories import DrivenWorker, done, expire, failed, postponed, request, send
from tests.support.sessions import NOON, Session, call, find, freeze_clock, move_clock

POLICY = RetryPolicy.fixed([60], jitter=False, auto_retry_for=["BOOM"])


def status(db: Session, task_id: UUID) -> str:
    """Return the status of a task, which must be in exactly one table."""
    (found,) = filter(None, (find(db, table, task_id) for table in ("tasks", "history")))
    return found["status"]


def cancel(db: Session, task_id: UUID) -> None:
    assert call(db, task_queries.cancel(task_id)) == "cancelled"


def test_new_to_pending_by_send(db: Session) -> None:
    assert status(db, send(db)) == "PENDING"


def test_pending_to_running_by_claim(db: Session) -> None:
    task_id = send(db)
    DrivenWorker(db).claim_one()
    assert status(db, task_id) == "RUNNING"


def test_pending_to_claimed_by_prefetch(db: Session) -> None:
    task_id = send(db)
    assert len(DrivenWorker(db).prefetch()) == 1
    assert status(db, task_id) == "CLAIMED"


def test_claimed_to_running_by_start(db: Session) -> None:
    task_id = send(db)
    worker = DrivenWorker(db)
    assert worker.start(*worker.prefetch()) == {task_id: 1}
    assert status(db, task_id) == "RUNNING"


def test_claimed_to_pending_by_release(db: Session) -> None:
    task_id = send(db)
    worker = DrivenWorker(db)
    assert worker.release(*worker.prefetch()) == set()
    assert status(db, task_id) == "PENDING"


def test_running_to_pending_by_retry(db: Session) -> None:
    task_id = send(db, request(retry=POLICY))
    worker = DrivenWorker(db)
    assert worker.finish(failed(worker.claim_one())) == ["accepted"]
    assert status(db, task_id) == "PENDING"


def test_running_to_pending_by_release(db: Session) -> None:
    task_id = send(db)
    worker = DrivenWorker(db)
    assert worker.release(worker.claim_one()) == set()
    assert status(db, task_id) == "PENDING"


def test_running_to_pending_by_postpone(db: Session) -> None:
    task_id = send(db)
    worker = DrivenWorker(db)
    assert worker.finish(postponed(worker.claim_one())) == ["accepted"]
    assert status(db, task_id) == "PENDING"


def test_running_to_completed_by_finish(db: Session) -> None:
    task_id = send(db)
    worker = DrivenWorker(db)
    assert worker.finish(done(worker.claim_one())) == ["accepted"]
    assert status(db, task_id) == "COMPLETED"


def test_running_to_failed_by_finish(db: Session) -> None:
    task_id = send(db)
    worker = DrivenWorker(db)
    assert worker.finish(failed(worker.claim_one())) == ["accepted"]
    assert status(db, task_id) == "FAILED"


def test_pending_to_expired_by_expire(db: Session) -> None:
    freeze_clock(db)
    task_id = send(db, request(good_until=NOON))
    assert expire(db) == 1
    assert status(db, task_id) == "EXPIRED"


def test_claimed_to_expired_by_expire(db: Session) -> None:
    freeze_clock(db)
    task_id = send(db, request(good_until=NOON + timedelta(seconds=1)))
    DrivenWorker(db).prefetch()
    move_clock(db, 1)
    assert expire(db) == 1
    assert status(db, task_id) == "EXPIRED"


def test_pending_to_cancelled_by_cancel(db: Session) -> None:
    task_id = send(db)
    cancel(db, task_id)
    assert status(db, task_id) == "CANCELLED"


def test_claimed_to_cancelled_by_cancel(db: Session) -> None:
    task_id = send(db)
    DrivenWorker(db).prefetch()
    cancel(db, task_id)
    assert status(db, task_id) == "CANCELLED"


def test_running_to_cancelled_by_cancel(db: Session) -> None:
    task_id = send(db)
    DrivenWorker(db).claim_one()
    cancel(db, task_id)
    assert status(db, task_id) == "CANCELLED"
