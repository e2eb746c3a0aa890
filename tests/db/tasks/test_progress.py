"""`progress`: a running task reports its progress, and learns whether it was cancelled."""

import pytest

from horsies.config.retry import RetryPolicy
from horsies.db.queries import tasks as task_queries
from horsies.db.queries.worker import Fence
from tests.support.factories import DrivenWorker, done, failed, prefetch, reap, request, send
from tests.support.sessions import Session, call, row, scalar

HALF = b'{"done":0.5,"total":1,"note":null}'
AT_ONCE = RetryPolicy.fixed([0.001], jitter=False, auto_retry_for=["BOOM", "WORKER_CRASHED"])


@pytest.fixture
def worker(db: Session) -> DrivenWorker:
    return DrivenWorker(db)


def progress(db: Session, fence: Fence, attempt: int = 1, report: bytes | None = HALF) -> bool:
    return call(db, task_queries.progress(fence.task_id, attempt, report))


def test_it_is_seen_while_the_task_runs_and_afterwards(db: Session, worker: DrivenWorker) -> None:
    task_id = send(db)
    fence = worker.claim_one()
    before = row(db, "tasks", task_id)
    assert progress(db, fence)
    assert row(db, "tasks", task_id) == before | {"progress": HALF}
    worker.finish(done(fence))
    assert row(db, "history", task_id)["progress"] == HALF


def test_who_only_asks_changes_nothing(db: Session, worker: DrivenWorker) -> None:
    send(db)
    fence = worker.claim_one()
    progress(db, fence)
    assert progress(db, fence, report=None)
    assert row(db, "tasks", fence.task_id)["progress"] == HALF


@pytest.mark.parametrize("report", [HALF, None])
def test_a_task_that_does_not_run_is_left_alone(db: Session, worker: DrivenWorker, report: bytes | None) -> None:
    fence = Fence(send(db), 1)
    assert not progress(db, fence, 0, report)
    worker.claim_one()
    assert not progress(db, fence, 2, report)
    prefetch(db, fence)
    assert not progress(db, fence, 0, report)
    assert row(db, "tasks", fence.task_id)["progress"] is None


@pytest.mark.parametrize("report", [HALF, None])
def test_a_cancelled_task_learns_of_it(db: Session, worker: DrivenWorker, report: bytes | None) -> None:
    task_id = send(db)
    fence = worker.claim_one()
    call(db, task_queries.cancel(task_id))
    assert not progress(db, fence, 1, report)
    assert row(db, "history", task_id)["progress"] is None


def test_a_lost_attempt_does_not_speak_for_the_next(db: Session, worker: DrivenWorker) -> None:
    task_id = send(db, request(retry=AT_ONCE))
    lost = worker.claim_one()
    reap(db, proven_dead=worker.id)
    db.execute("update horsies.tasks set run_at = horsies.now()")
    again = DrivenWorker(db).claim_one()
    assert again == lost  # the same task and exchange number
    assert not progress(db, lost, 1)
    assert progress(db, again, 2)
    assert row(db, "tasks", task_id)["progress"] == HALF


def test_of_a_task_that_ended(db: Session, worker: DrivenWorker) -> None:
    send(db)
    fence = worker.claim_one()
    worker.finish(failed(fence))
    assert not progress(db, fence)


def test_nobody_waits_for_the_disk(db: Session, worker: DrivenWorker) -> None:
    send(db)
    fence = worker.claim_one()
    with db.transaction():
        progress(db, fence)
        assert scalar(db, "show synchronous_commit") == "off"
