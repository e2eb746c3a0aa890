"""`notify_cancel`: notifies workers and waiters that a task was cancelled."""

from horsies.db.queries import tasks as task_queries
from tests.support.factories import DrivenWorker, send
from tests.support.sessions import NotificationListener, Session, call


def test_workers_and_waiters_are_notified(db: Session, other: Session) -> None:
    task_id = send(db)
    DrivenWorker(db).claim_one()
    call(db, task_queries.cancel(task_id))
    listeners = {kind: NotificationListener(other, kind) for kind in ("cancel", "done", "wake")}
    call(db, task_queries.notify_cancel(task_id))
    heard = listeners["cancel"].heard()
    assert heard[0] == task_id.hex
    assert heard[1].startswith(task_id.hex)
    assert heard[2:] == [""]


def test_a_live_task_is_left_in_peace(db: Session, other: Session) -> None:
    waiting, running = send(db), send(db)
    DrivenWorker(db).claim_one()
    listeners = [NotificationListener(other, kind) for kind in ("cancel", "done", "wake")]
    call(db, task_queries.notify_cancel(waiting))
    call(db, task_queries.notify_cancel(running))
    assert listeners[0].heard() == []
