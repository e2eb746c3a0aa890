"""`return_to_queue`: claims that never started return to the queue."""

from uuid import UUID

from tests.support.factories import DrivenWorker, prefetch, send
from tests.support.sessions import Session, row, scalar


def return_to_queue(db: Session, *ids: UUID, because_worker_died: bool = False) -> int:
    return scalar(db, "select horsies.return_to_queue(%s, %s)", list(ids), because_worker_died)


def test_a_death_is_counted_for_the_task(db: Session) -> None:
    send(db)
    worker = DrivenWorker(db)
    for count in (1, 2):
        fence = worker.claim_one()
        prefetch(db, fence)
        assert return_to_queue(db, fence.task_id, because_worker_died=True) == 1
        task = row(db, "tasks", fence.task_id)
        assert (task["status"], task["attempt"], task["worker_deaths"]) == ("PENDING", 0, count)


def test_a_release_is_not_counted(db: Session) -> None:
    send(db)
    fence = DrivenWorker(db).claim_one()
    return_to_queue(db, fence.task_id)
    assert row(db, "tasks", fence.task_id)["worker_deaths"] == 0


def test_what_waits_already_is_left_alone(db: Session) -> None:
    task_id = send(db)
    before = row(db, "tasks", task_id)
    assert return_to_queue(db, task_id, because_worker_died=True) == 0
    assert row(db, "tasks", task_id) == before


def test_no_tasks_are_no_work(db: Session) -> None:
    assert scalar(db, "select horsies.return_to_queue(null, false)") == 0
