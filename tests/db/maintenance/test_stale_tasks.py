"""`stale_tasks`: lists the claimed and running tasks of silent workers."""

from horsies.db.queries import monitoring as monitoring_queries
from tests.support.factories import DrivenWorker, numbered_id, prefetch, request, send
from tests.support.sessions import Session, call, freeze_clock, move_clock


def stale(db: Session, seconds: float, most: int = 100) -> list[tuple[object, str]]:
    return [(found.id, found.status) for found in call(db, monitoring_queries.stale_tasks(seconds, most))]


def test_a_task_is_stale_when_its_worker_has_been_silent(db: Session) -> None:
    freeze_clock(db)
    waiting, running, claimed, fine = (send(db, request(numbered_id(number), delay=-number)) for number in (0, 3, 2, 1))
    silent = DrivenWorker(db)
    silent.claim_one()
    move_clock(db, 1)
    prefetch(db, silent.claim_one())
    DrivenWorker(db).claim_one()
    assert stale(db, 30) == []
    move_clock(db, 60)
    DrivenWorker(db)
    db.execute("update horsies.workers set heartbeat_at = horsies.now() where id <> %s", (silent.id,))
    assert stale(db, 60) == [(running, "RUNNING"), (claimed, "CLAIMED")]
    assert stale(db, 61.5) == []
    assert stale(db, 60, most=1) == [(running, "RUNNING")]
    assert {waiting, fine}.isdisjoint(found for found, _ in stale(db, 0.5))


def test_a_task_without_a_worker_is_stale(db: Session) -> None:
    task_id = send(db)
    worker = DrivenWorker(db)
    worker.claim_one()
    worker.stop()
    assert stale(db, 3600) == [(task_id, "RUNNING")]
