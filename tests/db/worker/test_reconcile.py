"""`reconcile`: settles the claims that a lost reply left open."""

from copy import replace

import pytest
from uuid_utils.compat import uuid7

from horsies.db.queries import worker as worker_queries
from horsies.db.queries.worker import Fence
from tests.support.factories import DrivenWorker, failed, prefetch, reap, send
from tests.support.sessions import NotificationListener, Session, call, row


@pytest.fixture
def worker(db: Session) -> DrivenWorker:
    for _ in range(3):
        send(db)
    return DrivenWorker(db)


def test_a_claim_whose_reply_got_lost_goes_back_with_its_attempt(db: Session, worker: DrivenWorker) -> None:
    held, lost = worker.claim(2)
    assert worker.reconcile(held) == set()
    assert row(db, "tasks", held.task_id)["status"] == "RUNNING"
    task = row(db, "tasks", lost.task_id)
    assert (task["status"], task["attempt"], task["worker_deaths"], task["started_at"]) == ("PENDING", 0, 0, None)


def test_a_prefetched_claim_whose_reply_got_lost_goes_back_too(db: Session, worker: DrivenWorker) -> None:
    lost = worker.claim_one()
    prefetch(db, lost)
    worker.reconcile()
    task = row(db, "tasks", lost.task_id)
    assert (task["status"], task["attempt"]) == ("PENDING", 0)


def test_a_task_known_by_an_older_claim_only_goes_back_and_is_lost(db: Session, worker: DrivenWorker) -> None:
    old = worker.claim_one()
    worker.release(old)
    new = worker.claim_one()
    assert new.task_id == old.task_id
    assert worker.reconcile(old) == {old.task_id}
    assert row(db, "tasks", old.task_id)["status"] == "PENDING"


def test_a_call_that_the_server_runs_late_leaves_newer_claims_alone(db: Session, worker: DrivenWorker) -> None:
    """A frozen server process runs the call after the worker has given it up, compared again and claimed."""
    unknown = worker.claim_one()
    late_call = worker_queries.reconcile(worker.id, [], worker.exchange_no)
    assert worker.reconcile() == set()
    newer = worker.claim(3)
    call(db, late_call)
    assert {row(db, "tasks", fence.task_id)["status"] for fence in newer} == {"RUNNING"}
    assert unknown.task_id in {fence.task_id for fence in newer}


def test_a_worker_of_an_older_version_names_no_exchange(db: Session, worker: DrivenWorker) -> None:
    lost = worker.claim_one()
    db.execute("select * from horsies.reconcile(%s, '{}', '{}')", (worker.id,))
    assert row(db, "tasks", lost.task_id)["status"] == "PENDING"


def test_fences_that_the_database_lacks_are_returned(db: Session, worker: DrivenWorker) -> None:
    held, ended, released = worker.claim(3)
    worker.finish(failed(ended))
    worker.release(released)
    unclaimed = Fence(uuid7(), 1)
    older = replace(held, exchange_no=0)
    assert worker.reconcile(held, ended, released, unclaimed) == {ended.task_id, released.task_id, unclaimed.task_id}
    assert worker.reconcile(older) == {held.task_id}


def test_what_was_reaped_is_lost(db: Session, worker: DrivenWorker) -> None:
    held = worker.claim_one()
    reap(db, proven_dead=worker.id)
    assert worker.reconcile(held) == {held.task_id}


def test_the_tasks_of_other_workers_are_left_alone(db: Session, worker: DrivenWorker) -> None:
    mine = worker.claim_one()
    other = DrivenWorker(db)
    theirs = other.claim_one()
    assert worker.reconcile(mine, theirs) == {theirs.task_id}
    assert row(db, "tasks", theirs.task_id)["worker_id"] == other.id


def test_workers_are_woken_when_something_goes_back_and_only_then(
    db: Session, other: Session, worker: DrivenWorker
) -> None:
    listener = NotificationListener(other, "wake")
    held, _lost = worker.claim(2)
    worker.reconcile(held)
    assert listener.heard() == [""]
    worker.reconcile(held)
    assert listener.heard() == []
