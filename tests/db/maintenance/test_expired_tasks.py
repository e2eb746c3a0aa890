"""`expired_tasks`: lists tasks that were not started by their deadline."""

from datetime import timedelta

from horsies.db.queries import monitoring as monitoring_queries
from tests.support.factories import DrivenWorker, done, expire, request, send
from tests.support.sessions import NOON, Session, call, freeze_clock, move_clock


def expired(db: Session, most: int = 100) -> list[tuple[object, str]]:
    return [(found.id, found.status) for found in call(db, monitoring_queries.expired_tasks(most))]


def test_those_about_to_end_and_those_that_ended_within_a_day(db: Session) -> None:
    freeze_clock(db)
    running = send(db, request(good_until=NOON + timedelta(seconds=1)))
    worker = DrivenWorker(db)
    fence = worker.claim_one()
    early, late, never, future = (
        send(db, request(good_until=at and NOON + timedelta(seconds=at))) for at in (2, 3, None, 100)
    )
    assert expired(db) == []
    move_clock(db, 2)
    expire(db)
    move_clock(db, 2)
    assert expired(db) == [(late, "PENDING"), (early, "EXPIRED")]
    assert expired(db, most=1) == [(late, "PENDING")]
    expire(db)
    worker.finish(done(fence))
    assert expired(db) == [(late, "EXPIRED"), (early, "EXPIRED")]
    move_clock(db, 86_399)
    assert {running, never, early}.isdisjoint(found for found, _ in expired(db))
    assert expired(db) == [(future, "PENDING"), (late, "EXPIRED")]
