"""`notify_wake_within`: wakes workers when the caller's transaction commits. (A full queue: tests of the producer.)"""

from horsies.db.queries import worker as worker_queries
from tests.support.sessions import Ear, Session, call


def test_it_is_heard_at_the_commit(db: Session, other: Session) -> None:
    ear = Ear(other, "wake")
    with db.transaction():
        call(db, worker_queries.notify_wake_within())
        assert ear.heard() == []
    assert ear.heard() == [""]
