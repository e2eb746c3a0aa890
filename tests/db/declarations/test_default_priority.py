"""`default_priority`: the priority of a task that is sent to a queue without one."""

from tests.support.declared import declaration, declare
from tests.support.sessions import Session, freeze_clock, move_clock, scalar


def priority(db: Session, task: str, queue: str) -> int:
    return scalar(db, "select horsies.default_priority(%s, %s)", task, queue)


def test_the_lowest_priority_is_that_of_an_unknown_queue(db: Session) -> None:
    declare(db, declaration(queue="q", priority=5))
    assert priority(db, "add", "other") == 100


def test_the_task_s_own_declaration_comes_first_and_then_the_newest(db: Session) -> None:
    freeze_clock(db)
    declare(db, declaration("own", queue="q", priority=5))
    move_clock(db, 1)
    declare(db, declaration("b", queue="q", priority=6))
    move_clock(db, 1)
    declare(db, declaration("a", queue="q", priority=7))
    assert [priority(db, task, "q") for task in ("own", "unknown")] == [5, 7]


def test_a_declaration_that_was_replaced_does_not_count(db: Session) -> None:
    declare(db, declaration(queue="q", priority=5))
    declare(db, declaration(queue="other", priority=6))
    assert priority(db, "add", "q") == 100
