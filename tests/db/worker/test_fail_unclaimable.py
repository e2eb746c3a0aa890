"""`fail_unclaimable`: ends a waiting task whose row the server cannot claim."""

from uuid import UUID

from tests.support.factories import DrivenWorker, send
from tests.support.sessions import Session, row, scalar


def fail(db: Session, task_id: UUID) -> bool:
    return scalar(db, "select horsies.fail_unclaimable(%s, 'out of range')", task_id)


def test_the_task_fails_and_its_error_says_why(db: Session) -> None:
    task_id = send(db)
    assert fail(db, task_id)
    ended = row(db, "history", task_id)
    assert (ended["status"], ended["error_code"]) == ("FAILED", "WORKER_SERIALIZATION_ERROR")
    assert b"the database could not claim this task: out of range" in ended["result"]


def test_a_task_that_is_locked_or_claimed_or_unknown_is_left_alone(db: Session, other: Session) -> None:
    task_id = send(db)
    with other.transaction():
        other.execute("select from horsies.tasks for update")
        assert not fail(db, task_id)
    DrivenWorker(db).claim_one()
    assert not fail(db, task_id)
    assert row(db, "tasks", task_id)["status"] == "RUNNING"
    assert not fail(db, UUID(int=1))
