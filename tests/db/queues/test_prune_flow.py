"""`prune_flow`: expired holds and full buckets leave nothing behind."""

from tests.support.factories import DrivenWorker, send
from tests.support.flow import hold
from tests.support.sessions import Session, move_clock, scalar


def test_a_hold_of_a_plain_queue_leaves_nothing_behind(db: Session) -> None:
    send(db)
    hold(db, "horsies.now() + interval '1 minute'")
    worker = DrivenWorker(db)
    claim = worker.ask(9)
    assert claim.tasks == []
    assert claim.limits_active
    move_clock(db, 61)
    assert len(worker.claim(1)) == 1
    assert scalar(db, "select count(*) from horsies.queues") == 0
    assert not worker.ask(9).limits_active
