"""`notify_room`: wakes workers when a capped queue has room and waiting tasks."""

import pytest

from horsies.db.queries import worker as worker_queries
from tests.support.factories import DrivenWorker, pause_queue, request, send
from tests.support.sessions import NotificationListener, Session, call, scalar


def heard(db: Session, other: Session, worker: DrivenWorker, *queues: str) -> int:
    listener = NotificationListener(other, "wake")
    call(db, worker_queries.notify_room(worker.id, queues))
    return len(listener.heard())


def test_room_for_what_waits_wakes(db: Session, other: Session) -> None:
    worker = DrivenWorker(db, caps={"a": 1, "b": 1})
    assert heard(db, other, worker, "a", "b") == 0
    send(db, request(queue="a"))
    assert heard(db, other, worker, "b") == 0
    assert heard(db, other, worker, "a", "b") == 1


def test_room_that_was_taken_again_wakes_nobody(db: Session, other: Session) -> None:
    worker = DrivenWorker(db, caps={"a": 1})
    for _ in range(2):
        send(db, request(queue="a"))
    worker.claim_one()
    assert heard(db, other, worker, "a") == 0


def test_nobody_is_woken_for_what_is_held_or_paused(db: Session, other: Session) -> None:
    worker = DrivenWorker(db, caps={"a": 1, "b": 1})
    send(db, request(queue="a"))
    db.execute("update horsies.tasks set held = true")
    send(db, request(queue="b"))
    pause_queue(db, "b")
    assert heard(db, other, worker, "a", "b") == 0


@pytest.mark.parametrize(("cap", "notices"), [(1, 0), (2, 1)])
def test_room_in_the_cluster_is_room_for_every_queue(db: Session, other: Session, cap: int, notices: int) -> None:
    worker = DrivenWorker(db, queues=["a"], cluster_cap=cap)
    send(db, request(queue="a"))
    worker.claim_one()
    send(db, request(queue="elsewhere"))
    assert heard(db, other, worker, "a") == notices


def test_it_only_looks(db: Session, other: Session) -> None:
    worker = DrivenWorker(db, caps={"a": 1})
    send(db, request(queue="a"))
    heard(db, other, worker, "a")
    assert scalar(db, "select status from horsies.tasks") == "PENDING"
