"""`heartbeat`: records that a worker is alive."""

import time
from datetime import timedelta

from horsies.db.queries import worker as worker_queries
from tests.support.factories import DrivenWorker, beats, reap
from tests.support.sessions import NOON, Session, call, freeze_clock, move_clock, row, scalar


def test_it_is_noted_by_the_clock_of_the_database(db: Session) -> None:
    freeze_clock(db)
    worker = DrivenWorker(db)
    move_clock(db, 30)
    assert worker.heartbeat()
    known = row(db, "workers", worker.id)
    assert (known["started_at"], known["heartbeat_at"]) == (NOON, NOON + timedelta(seconds=30))


def test_it_is_counted(db: Session) -> None:
    worker, other = DrivenWorker(db), DrivenWorker(db)
    for number in range(1, 4):
        assert worker.heartbeat()
        assert (beats(db, worker).beats, beats(db, other).beats) == (number, 0)


def test_a_worker_that_was_declared_dead_learns_of_it(db: Session) -> None:
    worker, other = DrivenWorker(db), DrivenWorker(db)
    reap(db, worker.id)
    assert not worker.heartbeat()
    assert other.heartbeat()


def test_it_says_how_far_the_clock_of_the_worker_is_ahead(db: Session) -> None:
    worker = DrivenWorker(db)
    assert row(db, "workers", worker.id)["clock_skew"] is None
    for said, known in ((7.5, 7.5), (None, 7.5), (-0.25, -0.25)):
        assert worker.heartbeat(said)
        assert row(db, "workers", worker.id)["clock_skew"] == known


def test_it_answers_the_real_time_whatever_the_clock_of_the_test(db: Session) -> None:
    freeze_clock(db)
    _, answered = call(db, worker_queries.heartbeat(DrivenWorker(db).id))
    assert abs(answered - time.time()) < 5


def test_a_worker_of_an_older_release_says_no_more_than_that_it_lives(db: Session) -> None:
    assert scalar(db, "select horsies.heartbeat(%s)", DrivenWorker(db).id) is True
