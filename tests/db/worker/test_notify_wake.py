"""`notify_wake`: notifies workers that there may be work."""

from horsies.db.queries import worker as worker_queries
from tests.support.sessions import NotificationListener, Session, call


def test_listeners_are_woken_at_commit(db: Session, other: Session) -> None:
    listener = NotificationListener(db, "wake")
    with other.transaction():
        call(other, worker_queries.notify_wake())
        assert listener.heard() == []
    assert listener.heard() == [""]
