"""`renew`: a worker keeps its prefetched tasks for another lease, up to a maximum age."""

from datetime import timedelta

from horsies.db.queries import worker as worker_queries
from horsies.db.queries.worker import Fence
from tests.support.factories import DrivenWorker, numbered_id, request, send
from tests.support.sessions import NOON, NotificationListener, Session, call, freeze_clock, move_clock, row


def renew(worker: DrivenWorker, *fences: Fence, most_s: float = 180) -> list[int]:
    kept = call(worker.session, worker_queries.renew(worker.id, fences, 60, most_s))
    return sorted(task_id.int & 0xFFFF for task_id in kept)


def test_a_lease_is_counted_from_its_last_renewal(db: Session) -> None:
    freeze_clock(db)
    task_id = send(db, request(numbered_id(1)))
    worker = DrivenWorker(db)
    (fence,) = worker.prefetch(lease_s=60)
    move_clock(db, 50)
    assert renew(worker, fence) == [1]
    assert row(db, "tasks", task_id)["lease_until"] == NOON + timedelta(seconds=110)
    assert row(db, "tasks", task_id)["claimed_at"] == NOON


def test_what_was_claimed_long_ago_goes_back_unharmed(db: Session, other: Session) -> None:
    freeze_clock(db)
    worker = DrivenWorker(db)
    send(db, request(numbered_id(1)))
    (old,) = worker.prefetch()
    move_clock(db, 100)
    send(db, request(numbered_id(2)))
    (young,) = worker.prefetch()
    listener = NotificationListener(other, "wake")
    move_clock(db, 80)
    assert renew(worker, old, young) == [2]
    assert listener.heard() == [""]
    given_back = row(db, "tasks", old.task_id)
    assert (given_back["status"], given_back["attempt"], given_back["worker_deaths"]) == ("PENDING", 0, 0)
    assert given_back["lease_until"] is None


def test_what_is_not_one_s_own_or_runs_is_no_one_s_to_keep(db: Session, other: Session) -> None:
    for number in range(3):
        send(db, request(numbered_id(number)))
    worker, stranger = DrivenWorker(db), DrivenWorker(db)
    first, second = worker.prefetch(2)
    worker.start(first)
    running = worker.claim_one()
    listener = NotificationListener(other, "wake")
    assert renew(stranger, second) == []
    assert renew(worker, first, second, running, Fence(second.task_id, 99)) == [1]
    assert listener.heard() == []
