"""`notify_wake`: notifies workers that there may be work."""

from horsies.db.queries import worker as worker_queries
from tests.support.sessions import Ear, Session, call


def test_listeners_are_woken_at_commit(db: Session, other: Session) -> None:
    ear = Ear(db, "wake")
    with other.transaction():
        call(other, worker_queries.notify_wake())
        assert ear.heard() == []
    assert ear.heard() == [""]
