"""`release`: a worker returns claims that it has not started to the queue."""

from copy import replace

import pytest
from uuid_utils.compat import uuid7

from horsies.db.queries.worker import Fence
from tests.support.factories import DrivenWorker, done, prefetch, request, send
from tests.support.sessions import Session, freeze_clock, move_clock, row


@pytest.fixture
def worker(db: Session) -> DrivenWorker:
    freeze_clock(db)
    return DrivenWorker(db)


def test_a_task_goes_back_to_its_place_with_its_attempt(db: Session, worker: DrivenWorker) -> None:
    before = row(db, "tasks", send(db, request()))
    move_clock(db, 60)
    fence = worker.claim_one()
    assert not worker.release(fence)
    assert row(db, "tasks", fence.task_id) == before
    assert worker.claim_one().task_id == fence.task_id


def test_a_prefetched_task_goes_back_too(db: Session, worker: DrivenWorker) -> None:
    before = row(db, "tasks", send(db))
    fence = worker.claim_one()
    prefetch(db, fence)
    assert not worker.release(fence)
    assert row(db, "tasks", fence.task_id) == before


def test_only_what_is_named_goes_back(db: Session, worker: DrivenWorker) -> None:
    for _ in range(3):
        send(db)
    first, second, third = worker.claim(3)
    assert not worker.release(third, first)
    assert row(db, "tasks", second.task_id)["status"] == "RUNNING"
    assert [row(db, "tasks", fence.task_id)["status"] for fence in (first, third)] == ["PENDING"] * 2


def test_a_wrong_fence_leaves_the_task_alone(db: Session, worker: DrivenWorker) -> None:
    send(db)
    fence = worker.claim_one()
    before = row(db, "tasks", fence.task_id)
    assert not worker.release(replace(fence, exchange_no=2))
    assert not worker.release(Fence(uuid7(), 1))
    assert not DrivenWorker(db).release(fence)
    assert row(db, "tasks", fence.task_id) == before


def test_an_older_claim_of_the_same_worker_does_not_release_the_newer(db: Session, worker: DrivenWorker) -> None:
    send(db)
    old = worker.claim_one()
    worker.release(old)
    worker.claim_one()
    assert not worker.release(old)
    assert row(db, "tasks", old.task_id)["status"] == "RUNNING"


def test_what_has_ended_or_went_back_already_is_not_released(db: Session, worker: DrivenWorker) -> None:
    for _ in range(2):
        send(db)
    ended, back = worker.claim(2)
    worker.finish(done(ended))
    worker.release(back)
    assert not worker.release(ended, back)


def test_nothing_is_released(worker: DrivenWorker) -> None:
    assert not worker.release()
