"""`request_heartbeats`: notifies workers, and returns a time that is before all answers."""

from horsies.db.queries import monitoring as monitoring_queries
from tests.support.factories import DrivenWorker
from tests.support.sessions import NotificationListener, Session, call, row


def test_workers_are_notified_and_later_heartbeats_are_answers(db: Session, other: Session) -> None:
    worker = DrivenWorker(db)
    registered_at = row(db, "workers", worker.id)["heartbeat_at"]
    listener = NotificationListener(db, "ping")
    asked_at = call(other, monitoring_queries.request_heartbeats())
    assert listener.heard() == [""]
    db.execute("select horsies.heartbeat(%s)", (worker.id,))
    assert registered_at < asked_at < row(db, "workers", worker.id)["heartbeat_at"]
