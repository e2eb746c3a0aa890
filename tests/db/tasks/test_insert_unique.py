"""`insert_unique`: inserts a unique task, or does what its conflict asks for; see also `test_enqueue_once`."""

from typing import Any
from uuid import UUID

import pytest
from psycopg import errors

from horsies.db.queries import tasks as task_queries
from tests.support.factories import DrivenWorker, request
from tests.support.sessions import InBackground, Session, call, find, row, wait_until_blocked

_INSERT = """
    select * from horsies.insert_unique(%s, 'add', 'default', 100, '{}', 'x', 0, null, null, null, false, null, %s, %s,
                                        null, %s, null)
"""


def insert_unique(
    db: Session, new_id: UUID, on_conflict: str, *, holder: str = "started:1", must_lock: bool = False
) -> tuple[Any, ...] | None:
    return db.execute(_INSERT, (new_id, holder, on_conflict, must_lock)).fetchone()


@pytest.mark.parametrize("on_conflict", ["keep", "reject"])
def test_a_task_that_was_claimed_while_it_was_waited_for_does_not_count(
    db: Session, other: Session, in_background: InBackground, on_conflict: str
) -> None:
    first, second = request().task_id, request().task_id
    with db.transaction():
        insert_unique(db, first, "keep")
        waiting = in_background(lambda: insert_unique(other, second, on_conflict))
        wait_until_blocked(db, other)
        DrivenWorker(db).claim_one()
    assert waiting.result() == (second, "sent")


def test_a_joined_task_that_is_being_claimed_is_waited_for(
    db: Session, other: Session, in_background: InBackground
) -> None:
    first, second = request().task_id, request().task_id
    insert_unique(db, first, "keep")
    with db.transaction():
        DrivenWorker(db).claim_one()
        waiting = in_background(lambda: insert_unique(other, second, "keep", must_lock=True))
        wait_until_blocked(db, other)
    assert waiting.result() == (second, "sent")


def test_a_task_that_is_cancelled_while_it_is_replaced_does_not_count(
    db: Session, other: Session, in_background: InBackground
) -> None:
    first, second = request().task_id, request().task_id
    insert_unique(db, first, "replace")
    with db.transaction():
        call(db, task_queries.cancel(first))
        waiting = in_background(lambda: insert_unique(other, second, "replace"))
        wait_until_blocked(db, other)
    assert waiting.result() == (second, "sent")
    assert find(db, "tasks", first) is None
    assert row(db, "tasks", second)["holds_unique"] == "started:1"


def test_it_does_not_try_for_ever(db: Session) -> None:
    """A trigger of the user, for example, might refuse each insert without an error."""
    db.execute(
        "create function pg_temp.nothing() returns trigger language plpgsql as 'begin return null; end';"
        "create trigger nothing before insert on horsies.tasks for each row execute function pg_temp.nothing()"
    )
    with pytest.raises(errors.SerializationFailure, match="changed 100 times"):
        insert_unique(db, request().task_id, "keep")
