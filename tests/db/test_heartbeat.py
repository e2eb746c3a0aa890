"""`heartbeat`: a worker says that it lives."""

from datetime import timedelta

from tests.support.factories import DrivenWorker, reap, send
from tests.support.sessions import NOON, Session, freeze_clock, move_clock, row


def test_it_is_noted_by_the_clock_of_the_database(db: Session) -> None:
    freeze_clock(db)
    worker = DrivenWorker(db)
    move_clock(db, 30)
    assert worker.heartbeat()
    known = row(db, "workers", worker.id)
    assert (known["started_at"], known["heartbeat_at"]) == (NOON, NOON + timedelta(seconds=30))


def test_it_keeps_a_worker_alive(db: Session) -> None:
    freeze_clock(db)
    send(db)
    worker = DrivenWorker(db, stale_after_s=60)
    worker.claim_one()
    for _ in range(3):
        move_clock(db, 59)
        assert worker.heartbeat()
    assert reap(db).workers == 0


def test_a_worker_that_was_declared_dead_learns_of_it(db: Session) -> None:
    freeze_clock(db)
    worker, other = DrivenWorker(db, stale_after_s=60), DrivenWorker(db, stale_after_s=3600)
    move_clock(db, 61)
    reap(db)
    assert not worker.heartbeat()
    assert other.heartbeat()
