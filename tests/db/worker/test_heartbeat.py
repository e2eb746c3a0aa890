"""`heartbeat`: records that a worker is alive."""

import json
import time
from datetime import timedelta

from horsies.db.queries import monitoring as monitoring_queries
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


COUNTS = "select started_at, queue, task_name, completed, failed, retried from horsies.current_counts order by 1, 2"
MINUTE = timedelta(minutes=1)


def heartbeat_with(db: Session, worker: DrivenWorker, *rows: tuple[float, str, int]) -> bool:
    """Send a heartbeat with counts: minutes after noon, the queue, and the number of completed attempts."""
    begin = NOON.timestamp()
    counts = [[begin + 60 * minute, queue, 'say "hi"', number, 1, 2] for minute, queue, number in rows]
    return call(db, worker_queries.heartbeat(worker.id, 0, json.dumps(counts)))[0]


def test_it_replaces_the_counts_of_the_worker(db: Session) -> None:
    worker, other = DrivenWorker(db), DrivenWorker(db)
    assert heartbeat_with(db, worker, (0, "mail", 3), (1, "default", 1))
    assert heartbeat_with(db, other, (1, "other", 9))
    assert heartbeat_with(db, worker, (1, "default", 5))
    assert db.execute(COUNTS).fetchall() == [
        (NOON + MINUTE, "default", 'say "hi"', 5, 1, 2),
        (NOON + MINUTE, "other", 'say "hi"', 9, 1, 2),
    ]
    assert worker.heartbeat()
    assert len(db.execute(COUNTS).fetchall()) == 2, "an older release says nothing about counts"


def test_counts_of_minutes_that_are_sampled_are_left_out(db: Session) -> None:
    freeze_clock(db)
    call(db, monitoring_queries.sample(None))
    db.execute("update horsies.sampling set sampled_until = %s", (NOON + MINUTE,))
    assert heartbeat_with(db, DrivenWorker(db), (0, "default", 3), (1, "default", 1))
    assert [row[0] for row in db.execute(COUNTS)] == [NOON + MINUTE]


def test_counts_are_deleted_when_their_minute_is_sampled(db: Session) -> None:
    freeze_clock(db)
    worker = DrivenWorker(db)
    assert all(iter(lambda: call(db, monitoring_queries.sample(None)), 0))
    assert heartbeat_with(db, worker, (0, "default", 3), (1, "default", 1))
    move_clock(db, 60)
    assert call(db, monitoring_queries.sample(None)) == 1
    assert [row[0] for row in db.execute(COUNTS)] == [NOON + MINUTE]


def test_sampling_does_not_wait_for_a_heartbeat_and_so_never_deadlocks_with_it(db: Session, other: Session) -> None:
    freeze_clock(db)
    worker, quiet = DrivenWorker(db), DrivenWorker(db)
    assert all(iter(lambda: call(db, monitoring_queries.sample(None)), 0))
    assert heartbeat_with(db, worker, (0, "default", 3), (1, "default", 1))
    assert heartbeat_with(db, quiet, (0, "default", 7))
    move_clock(db, 60)
    with other.transaction():
        call(other, worker_queries.heartbeat(worker.id, 0, "[]"))
        db.execute("set lock_timeout = '5 s'")
        assert call(db, monitoring_queries.sample(None)) == 1
    assert db.execute(COUNTS).fetchall() == []


def test_counts_of_a_worker_that_was_declared_dead_are_not_stored(db: Session) -> None:
    worker = DrivenWorker(db)
    reap(db, worker.id)
    assert not heartbeat_with(db, worker, (0, "default", 3))
    assert db.execute(COUNTS).fetchall() == []
