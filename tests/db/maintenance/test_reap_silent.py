"""`reap_silent`: declares a worker dead that another process has seen silent, unless it has sent a heartbeat since."""

from tests.support.factories import DrivenWorker, beats, done, reap_silent, send
from tests.support.sessions import (
    InBackground,
    Session,
    find,
    move_clock,
    row,
)


def test_its_running_tasks_fail(db: Session) -> None:
    task_id, worker, other = send(db), DrivenWorker(db), DrivenWorker(db)
    fence = worker.claim_one()
    counts = reap_silent(db, beats(db, worker))
    assert counts is not None
    assert (counts.workers, counts.returned, counts.crashed) == (1, 0, 1)
    assert row(db, "history", task_id)["error_code"] == "WORKER_CRASHED"
    assert worker.finish(done(fence)) == ["stale"]
    assert not worker.heartbeat()
    assert find(db, "workers", other.id)


def test_a_heartbeat_that_came_since_saves_it(db: Session) -> None:
    send(db)
    worker = DrivenWorker(db)
    fence, seen = worker.claim_one(), beats(db, worker)
    worker.heartbeat()
    move_clock(db, 3600)
    assert reap_silent(db, seen) is None
    assert worker.finish(done(fence)) == ["accepted"]


def test_a_heartbeat_that_is_being_written_saves_it(db: Session, other: Session, in_background: InBackground) -> None:
    worker = DrivenWorker(db)
    seen = beats(db, worker)
    with db.transaction():
        worker.heartbeat()
        assert in_background(lambda: reap_silent(other, seen)).result() is None
    assert worker.heartbeat()


def test_who_is_gone_is_not_declared_dead_again(db: Session) -> None:
    worker = DrivenWorker(db)
    seen = beats(db, worker)
    worker.stop()
    assert reap_silent(db, seen) is None
