"""`ended_among`: which tasks are no longer live."""

from uuid import UUID

from uuid_utils.compat import uuid7

from horsies.db.queries import tasks as task_queries
from tests.support.factories import DrivenWorker, ended_task, send
from tests.support.sessions import Session, call


def ended_among(db: Session, *ids: UUID) -> set[UUID]:
    return set(call(db, task_queries.ended_among(ids)))


def test_live_tasks_are_not_ended_whatever_they_do(db: Session) -> None:
    waiting = send(db)
    running = DrivenWorker(db).claim_one().task_id
    later = send(db)
    assert ended_among(db, waiting, running, later) == set()


def test_what_is_not_live_is_ended_even_what_never_was(db: Session) -> None:
    ended, unknown, waiting = ended_task(db), uuid7(), send(db)
    assert ended_among(db, ended, unknown, waiting) == {ended, unknown}


def test_nothing_is_asked(db: Session) -> None:
    assert ended_among(db) == set()
