"""`task_result`: the status and the result of a task."""

import pytest
from uuid_utils.compat import uuid7

from horsies.config.retry import RetryPolicy
from horsies.db.queries import tasks as task_queries
from horsies.db.queries.rows import StoredResult
from tests.support.factories import DrivenWorker, done, expire, failed, prefetch, request, send
from tests.support.sessions import NOON, InBackground, NewSession, Session, call, freeze_clock

POLICY = RetryPolicy.fixed([60], auto_retry_for=["BOOM"])


@pytest.fixture
def worker(db: Session) -> DrivenWorker:
    return DrivenWorker(db)


def test_a_live_task_has_a_status_and_no_result(db: Session, worker: DrivenWorker) -> None:
    task_id = send(db, request(retry=POLICY))
    assert call(db, task_queries.task_result(task_id)) == StoredResult("add", "PENDING", None)
    fence = worker.claim_one()
    assert call(db, task_queries.task_result(task_id)) == StoredResult("add", "RUNNING", None)
    prefetch(db, fence)
    assert call(db, task_queries.task_result(task_id)) == StoredResult("add", "CLAIMED", None)


def test_a_task_that_waits_for_its_retry_has_no_result_yet(db: Session, worker: DrivenWorker) -> None:
    task_id = send(db, request(retry=POLICY))
    worker.finish(failed(worker.claim_one()))
    assert call(db, task_queries.task_result(task_id)) == StoredResult("add", "PENDING", None)


def test_a_completed_task_has_its_value(db: Session, worker: DrivenWorker) -> None:
    task_id = send(db)
    worker.finish(done(worker.claim_one(), b'{"sum": 3}'))
    assert call(db, task_queries.task_result(task_id)) == StoredResult("add", "COMPLETED", b'{"sum": 3}')


def test_a_failed_task_has_its_error(db: Session, worker: DrivenWorker) -> None:
    task_id = send(db)
    outcome = failed(worker.claim_one())
    worker.finish(outcome)
    assert call(db, task_queries.task_result(task_id)) == StoredResult("add", "FAILED", outcome.result)


def test_an_expired_task_has_an_error_too(db: Session) -> None:
    freeze_clock(db)
    task_id = send(db, request(good_until=NOON))
    expire(db)
    stored = call(db, task_queries.task_result(task_id))
    assert stored
    assert stored.status == "EXPIRED"
    assert b"TASK_EXPIRED" in (stored.result or b"")


def test_there_is_no_such_task(db: Session) -> None:
    assert call(db, task_queries.task_result(uuid7())) is None


def test_a_task_that_ends_meanwhile_is_always_found(
    db: Session, new_session: NewSession, in_background: InBackground, worker: DrivenWorker
) -> None:
    asking = new_session()
    for _ in range(200):
        task_id = send(db)
        fence = worker.claim_one()
        finishing = in_background(lambda fence=fence: worker.finish(done(fence)))
        while not finishing.done():
            assert call(asking, task_queries.task_result(task_id))
        assert finishing.result() == ["accepted"]


def test_it_waits_for_nobody(db: Session, other: Session, worker: DrivenWorker) -> None:
    task_id = send(db)
    with db.transaction():
        worker.finish(done(worker.claim_one()))
        stored = call(other, task_queries.task_result(task_id))
        assert stored == StoredResult("add", "PENDING", None)
