"""`notify_cancel_many`: notifies workers and waiters that tasks were cancelled."""

from horsies.db.queries import monitoring as monitoring_queries
from tests.support.factories import DrivenWorker, send
from tests.support.sessions import NotificationListener, Session, call


def test_workers_and_waiters_are_notified_of_each_ended_task(db: Session, other: Session) -> None:
    running, waiting, live = send(db), send(db), send(db)
    DrivenWorker(db).claim_one()
    asked = monitoring_queries.cancel_many([running, waiting])
    call(db, asked)
    assert asked.hint is not None
    hint = monitoring_queries.cancel_many([running, waiting, live]).hint
    assert hint is not None
    for kind in ("cancel", "done"):
        listener = NotificationListener(other, kind)
        call(db, hint)
        assert [payload[:32] for payload in listener.heard()] == [running.hex, waiting.hex]
        other.execute("unlisten *")
